"""data/photographs/metadata_corrections.py: a corrected manifest.csv counts for photographs that are in the lake,
once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from carsdepo_assets.data.jobs import correct_metadata_job
from carsdepo_assets.data.photographs.metadata_corrections import correct_metadata, look_again, manifests_due
from carsdepo_assets.data.sensors import new_metadata
from carsdepo_assets.lake.image_metadata import read_images
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.resources import LakeResource, PolicyResource
from carsdepo_assets_tests.data.photograph_files import NOW
from carsdepo_assets_tests.data.small_lake import car, upload

FIELDS = ("group_hint", "listing", "camera", "year")
A, B, C = car(1), car(2), car(3)


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake.open(tmp_path / "lake")


def manifest(lake: Lake, text: str | bytes, folder: str = "shop") -> None:
    lake.put(f"raw/uploads/{folder}/manifest.csv", text if isinstance(text, bytes) else text.encode())


def facts(lake: Lake) -> dict[str, tuple[Any, ...]]:
    return {
        row["key"].removeprefix("raw/uploads/"): tuple(row[name] for name in FIELDS)
        for row in read_images(lake).to_pylist()
    }


def correct(lake: Lake) -> tuple[int, int, int]:
    corrected = correct_metadata(lake, NOW)
    return corrected.files, corrected.photographs, corrected.groups


@pytest.mark.parametrize(
    ("text", "expected", "groups"),
    [
        ("file,group\na.jpg,g1\nb.jpg,g1\n", {"shop/a.jpg": ("g1", None, None, None)}, 1),
        ("file,group,year\na.jpg,g1,1999\nb.jpg,g2,2001\n", {"shop/a.jpg": ("g1", None, None, 1999)}, 0),
        ("file;listing\na.jpg;L\nb.jpg;L\n", {"shop/a.jpg": (None, "L", None, None)}, 2),
        ("file\tgroup\nA\tg9\n".encode("utf-16"), {"shop/a.jpg": ("g9", None, None, None)}, 2),
        ("file,group\nb.jpg,g2\n", {"shop/a.jpg": (None, None, None, None)}, 1),
    ],
)
def test_a_corrected_manifest_replaces_what_was_read(
    lake: Lake, text: str | bytes, expected: dict[str, tuple[Any, ...]], groups: int
) -> None:
    manifest(lake, "file,group\na.jpg,g1\nb.jpg,g2\n")
    upload(lake, {"shop/a.jpg": A, "shop/b.jpg": B, "other/c.jpg": C})
    assert correct(lake) == (1, 0, 0)
    assert facts(lake)["shop/b.jpg"] == ("g2", None, None, None)
    before = facts(lake)["other/c.jpg"]
    manifest(lake, text)
    files, photographs, regrouped = correct(lake)
    assert (files, regrouped) == (1, groups)
    assert photographs >= groups
    assert expected.items() <= facts(lake).items()
    assert facts(lake)["other/c.jpg"] == before
    rows = lake.read("metadata").num_rows
    assert correct(lake) == (0, 0, 0)
    assert lake.read("metadata").num_rows == rows == photographs


@pytest.mark.parametrize("text", ["no table", "file\na.jpg\n", "name,group\na.jpg,g2\n", b"\x81\x8d\x8f"])
def test_a_broken_manifest_takes_no_group_away_and_is_said(lake: Lake, text: str | bytes) -> None:
    manifest(lake, "file,group\na.jpg,g1\n")
    upload(lake, {"shop/a.jpg": A})
    manifest(lake, text)
    corrected = correct_metadata(lake, NOW)
    assert (corrected.files, corrected.photographs) == (1, 0)
    assert "raw/uploads/shop/manifest.csv is not used" in corrected.summary
    assert facts(lake)["shop/a.jpg"][0] == "g1"
    assert correct(lake) == (0, 0, 0)


def test_a_manifest_that_comes_after_its_photographs_counts(lake: Lake) -> None:
    upload(lake, {"shop/day/a.jpg": A})
    assert facts(lake) == {"shop/day/a.jpg": (None, None, None, None)}
    manifest(lake, "file,group,camera\nday/a.jpg,g1,X100\n")
    assert correct(lake) == (1, 1, 1)
    assert facts(lake) == {"shop/day/a.jpg": ("g1", None, "X100", None)}
    manifest(lake, "file,group\na.jpg,near\n", "shop/day")  # the nearest counts
    assert correct(lake) == (1, 1, 1)
    assert facts(lake) == {"shop/day/a.jpg": ("near", None, "X100", None)}  # EXIF may have said the camera


def test_back_and_forth_are_corrections_of_their_own(lake: Lake) -> None:
    upload(lake, {"shop/a.jpg": A})
    for group in ("g1", "g2", "g1", "g2"):
        manifest(lake, f"file,group,x\na.jpg,{group},{lake.read('metadata').num_rows}\n")
        assert correct(lake) == (1, 1, 1)
        assert facts(lake)["shop/a.jpg"][0] == group
    assert sorted(lake.read("metadata")["sequence"].to_pylist()) == [1, 2, 3, 4]


def test_the_newest_upload_of_a_photograph_counts_field_by_field(lake: Lake) -> None:
    manifest(lake, "file,group,listing\na.jpg,old,L1\n", "one")
    upload(lake, {"one/a.jpg": A})
    manifest(lake, "file,group,year\nb.jpg,new,2020\n", "two")
    upload(lake, {"two/b.jpg": A})
    correct(lake)
    assert facts(lake) == {"one/a.jpg": ("new", "L1", None, 2020)}


def test_a_second_upload_below_a_manifest_that_was_read_is_looked_at(lake: Lake) -> None:
    manifest(lake, "file,group\na.jpg,g1\nb.jpg,g2\n", "two")
    upload(lake, {"one/a.jpg": A, "two/b.jpg": B})
    correct(lake)
    upload(lake, {"two/a.jpg": A})
    assert correct(lake) == (1, 1, 1)
    assert facts(lake)["one/a.jpg"][0] == "g1"


def test_a_manifest_that_is_replaced_while_its_photographs_are_read_is_due(lake: Lake) -> None:
    """The correction ran before the photographs were in `images`, and so did not see them."""
    manifest(lake, "file,group\na.jpg,g1\n")
    upload(lake, {"shop/a.jpg": A})
    correct(lake)
    look_again(lake, {"raw/uploads/shop/manifest.csv": "0" * 64}, [])
    assert [entry.key for entry in manifests_due(lake)] == ["raw/uploads/shop/manifest.csv"]


def test_an_augmented_copy_has_its_source_for_a_group_unless_a_file_says_one(lake: Lake) -> None:
    manifest(lake, "file,group\nb_jpg.rf.1.jpg,said\n", "rf")
    upload(lake, {"rf/a_jpg.rf.1.jpg": A, "rf/b_jpg.rf.1.jpg": B})
    assert [facts(lake)[f"rf/{n}_jpg.rf.1.jpg"][0] for n in "ab"] == ["rf/a", "said"]
    notes = {r["key"][-14:]: r["notes"] for r in lake.read("images").to_pylist()}
    assert notes == {"a_jpg.rf.1.jpg": "group by its name: an augmented copy of rf/a", "b_jpg.rf.1.jpg": ""}
    manifest(lake, "file,group\na_jpg.rf.1.jpg,said\n", "rf")
    assert correct(lake) == (1, 2, 2)
    assert [facts(lake)[f"rf/{n}_jpg.rf.1.jpg"][0] for n in "ab"] == ["said", "rf/b"]


def test_a_row_goes_to_the_photograph_that_it_names_when_that_comes_later(lake: Lake) -> None:
    manifest(lake, "file,group\na.jpg,g1\nb.jpg,g2\n")
    upload(lake, {"shop/sub/a.jpg": A, "shop/x/b.jpg": B})
    assert correct(lake) == (1, 0, 0)
    assert {path: fact[0] for path, fact in facts(lake).items()} == {"shop/sub/a.jpg": "g1", "shop/x/b.jpg": "g2"}
    upload(lake, {"shop/a.jpg": C, "shop/y/b.jpg": car(4)})
    correct(lake)
    groups = {path: fact[0] for path, fact in facts(lake).items()}
    assert groups == {"shop/a.jpg": "g1", "shop/sub/a.jpg": None, "shop/x/b.jpg": None, "shop/y/b.jpg": None}
    notes = {row["key"]: row["notes"] for row in lake.read("images").to_pylist()}
    assert "the row of 'b.jpg' fits 2 photographs (x/b.jpg, y/b.jpg)" in notes["raw/uploads/shop/y/b.jpg"]


@pytest.mark.parametrize("folder", ["shop", "shop/day"])
def test_a_dropped_manifest_that_is_rewritten_in_place_is_due(lake: Lake, folder: str) -> None:
    manifest(lake, "file,group\na.jpg,g1\n", folder)
    upload(lake, {"shop/day/a.jpg": A})
    assert correct(lake) == (1, 0, 0)
    assert lake.root is not None
    (lake.root / f"raw/uploads/{folder}/manifest.csv").write_text("file,group\na.jpg,g1 corrected\n")
    assert [entry.key for entry in manifests_due(lake)] == [f"raw/uploads/{folder}/manifest.csv"]
    assert correct(lake) == (1, 1, 1)
    assert facts(lake)["shop/day/a.jpg"][0] == "g1 corrected"


def test_a_sidecar_can_be_read_anew_too(lake: Lake) -> None:
    upload(lake, {"shop/a.jpg": A, "shop/a.b.jpg": B})
    lake.put("raw/uploads/shop/a.json", b'{"group": "g7"}')
    (entry,) = [o for o in lake.list("raw/uploads/") if o.key.endswith(".json")]
    assert correct_metadata(lake, NOW, [entry]).photographs == 1
    assert facts(lake)["shop/a.jpg"][0] == "g7"


def test_without_its_memory_everything_is_compared_and_nothing_written(lake: Lake) -> None:
    manifest(lake, "file,group\na.jpg,g1\n")
    upload(lake, {"shop/a.jpg": A})
    manifest(lake, "file,group\na.jpg,g2\n")
    correct(lake)
    for memory in (b"", b"[]", b"{}"):
        lake.put("batches/metadata.json", memory)
        assert correct(lake) == (1, 0, 0)
    assert json.loads(lake.get("batches/metadata.json")).keys() == {"raw/uploads/shop/manifest.csv"}


def test_the_sensor_asks_for_one_run_of_each_state(lake: Lake, tmp_path: Path) -> None:
    (tmp_path / "policy.toml").write_text("[data]\nbatch_max_age_s = 0\n")
    policy = PolicyResource(file=str(tmp_path / "policy.toml"))
    resources = {"lake": LakeResource(url=lake.url, home=str(tmp_path)), "policy": policy}
    with dg.DagsterInstance.ephemeral() as instance:

        def tick() -> dg.RunRequest | dg.SkipReason:
            with dg.build_sensor_context(instance=instance, resources=resources) as context:
                result = new_metadata(context)
                assert isinstance(result, (dg.RunRequest, dg.SkipReason))
                return result

        assert isinstance(tick(), dg.SkipReason)
        manifest(lake, "file,group\na.jpg,g1\n")
        upload(lake, {"shop/a.jpg": A})
        manifest(lake, "file,group\na.jpg,g2 corrected\n")
        first, second = tick(), tick()
        assert isinstance(first, dg.RunRequest)
        assert isinstance(second, dg.RunRequest)
        assert first.run_key == second.run_key
        instance.add_run(dg.DagsterRun("correct_metadata", status=dg.DagsterRunStatus.STARTED, tags=dict(first.tags)))
        assert isinstance(tick(), dg.SkipReason)
        assert correct(lake) == (1, 1, 1)
        assert isinstance(tick(), dg.SkipReason)


def test_the_job_that_the_sensor_starts_says_what_it_did(lake: Lake, tmp_path: Path) -> None:
    manifest(lake, "file,group\na.jpg,g1\n")
    upload(lake, {"shop/a.jpg": A})
    manifest(lake, "file,group\na.jpg,corrected\n")
    resources = {"lake": LakeResource(url=lake.url, home=str(tmp_path))}
    with dg.DagsterInstance.ephemeral() as instance:
        run = correct_metadata_job.execute_in_process(resources=resources, instance=instance)
        (output,) = [e.step_output_data for e in run.all_events if e.is_successful_output]
    assert {name: value.value for name, value in output.metadata.items()} == {
        "files": 1,
        "photographs": 1,
        "regrouped": 1,
    }
    assert facts(lake)["shop/a.jpg"][0] == "corrected"
