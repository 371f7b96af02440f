"""data/datasets/dataset.py: the manifest agrees with the tables, and the same input gives the same version, written
once."""

from __future__ import annotations

import hashlib
import json
import random
import signal
import subprocess
import sys
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from carsdepo_assets.data.datasets.dataset import (
    MANIFEST,
    NoLabelledPhotographs,
    build_dataset,
    version_of,
)
from carsdepo_assets.data.datasets.splitting import EXCLUDED, POOL, side
from carsdepo_assets.detectors.training_set import training_set
from carsdepo_assets.imaging.near_duplicates import dataset_thumbnails
from carsdepo_assets.lake import golden
from carsdepo_assets.lake.annotations import latest_revisions
from carsdepo_assets.lake.datasets import LATEST, latest, read_manifest
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets_tests.data.photograph_files import NOW
from carsdepo_assets_tests.data.small_lake import HEIGHT, RULES, WIDTH, car, dataset, label, upload

BOX, OTHER = "0 0.5 0.5 0.25 0.5\n", "1 0.25 0.25 0.25 0.25\n"


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake.open(tmp_path / "lake")


def fill(lake: Lake, cars: range, photographs: int = 2) -> None:
    """Cars of `photographs` photographs each, all labelled; every third photograph shows no damage."""
    names = [f"c{c}-{p}" for c in cars for p in range(photographs)]
    upload(
        lake,
        {f"{n}.jpg": car(1000 + i + 100 * cars.start) for i, n in enumerate(names)},
        {f"{n}.jpg": n.split("-")[0] for n in names},
    )
    label(lake, {f"{n}.txt": "" if i % 3 == 0 else BOX for i, n in enumerate(names)})


def rows(lake: Lake) -> dict[str, dict[str, Any]]:
    return {r["key"].removeprefix("raw/uploads/"): r for r in dataset(lake).manifest.to_pylist()}


def stored(lake: Lake) -> dict[str, tuple[int, bytes]]:
    """Everything that a dataset writes: time of writing and bytes."""
    assert lake.root is not None
    keys = [o.key for prefix in ("datasets/", "golden/") for o in lake.list(prefix)]
    return {key: ((lake.root / key).stat().st_mtime_ns, lake.get(key)) for key in keys}


def test_nothing_labelled_says_what_to_do(lake: Lake) -> None:
    with pytest.raises(NoLabelledPhotographs, match="raw/labels"):
        dataset(lake)
    upload(lake, {"a.jpg": car(1)})
    with pytest.raises(NoLabelledPhotographs):
        dataset(lake)
    assert stored(lake) == {}


def test_any_photograph_is_in_the_manifest_as_the_tables_say(lake: Lake) -> None:
    fill(lake, range(6))
    dataset(lake)
    fill(lake, range(6, 9))
    label(lake, {"c1-0.txt": OTHER, "c7-1.txt": ""})
    built = dataset(lake)
    tables = {
        name: {r["image_id"]: r for r in lake.read(name).to_pylist()} for name in ("images", "processed", "splits")
    }
    revisions = {r["image_id"]: r for r in latest_revisions(lake.read("annotations")).to_pylist()}
    assert built.manifest.schema == MANIFEST
    assert built.manifest["image_id"].to_pylist() == sorted(revisions)
    assert len(revisions) == 18
    for row in random.Random(3).sample(built.manifest.to_pylist(), 10):
        image, copy, split, revision = (
            t[row["image_id"]] for t in (tables["images"], tables["processed"], tables["splits"], revisions)
        )
        assert row == {
            "image_id": hashlib.sha256(lake.get(row["key"])).hexdigest(),
            "key": image["key"],
            "object_key": copy["object_key"],
            "split": split["split"],
            "group_id": split["group_id"],
            "revision_id": revision["revision_id"],
            "upload_batch": image["batch_id"],
            "label_batch": revision["batch_id"],
            "origin": "yolo",
            "width": WIDTH,
            "height": HEIGHT,
            "processed_width": 64,
            "processed_height": 48,
            "scale": 64 / WIDTH,
            "boxes": revision["boxes"],
            "negatives": None,
        }
    assert {r["boxes"][0]["class_id"] for r in built.manifest.to_pylist() if r["key"].endswith("c1-0.jpg")} == {1}
    assert built.summary["all"]["photographs"] == 18
    assert sum(s["photographs"] for s in built.summary["splits"].values()) == 18


def test_a_car_is_on_one_side_and_the_first_dataset_fills_all(lake: Lake) -> None:
    fill(lake, range(6))
    first = dataset(lake)
    assert {r["split"] for r in first.manifest.to_pylist()} == {"train", "val", "test"}
    before = {r["image_id"]: r for r in lake.read("splits").to_pylist()}
    fill(lake, range(6, 16))
    split_rows = rows(lake)
    cars: dict[str, set[str]] = {}
    for name, row in split_rows.items():
        cars.setdefault(name.split("-")[0], set()).add(side(row["split"]))
    assert all(len(sides) == 1 for sides in cars.values())
    after = {r["image_id"]: r for r in lake.read("splits").to_pylist()}
    assert {i: after[i] for i in before} == before
    closed = json.loads(lake.get(golden.key(1)))
    assert closed["images"] == sorted(r["image_id"] for r in split_rows.values() if r["split"] == "test")
    assert POOL in {r["split"] for r in split_rows.values()}


def test_the_golden_set_waits_for_a_first_test_photograph(lake: Lake) -> None:
    fill(lake, range(2))
    dataset(lake)
    assert not lake.exists(golden.key(1))
    fill(lake, range(2, 3))
    built = dataset(lake)
    assert (
        json.loads(lake.get(golden.key(1)))["images"]
        == [r["image_id"] for r in built.manifest.to_pylist() if r["split"] == "test"]
        != []
    )


def test_the_same_again_is_the_same_version_and_writes_nothing(lake: Lake) -> None:
    fill(lake, range(4))
    first, files, version = dataset(lake), stored(lake), lake.version("splits")
    again = dataset(lake)
    assert (again.version, again.manifest, again.summary) == (first.version, first.manifest, first.summary)
    assert (first.new, again.new) == (True, False)
    assert stored(lake) == files
    assert lake.version("splits") == version
    assert latest(lake) == first.version
    assert read_manifest(lake, first.version) == first.manifest


def test_a_new_revision_is_a_new_version_and_unlabelled_photographs_are_not(lake: Lake) -> None:
    fill(lake, range(4))
    first = dataset(lake).version
    upload(lake, {"unlabelled.jpg": car(77)})
    assert dataset(lake).version == first
    label(lake, {"c0-1.txt": BOX + " "})  # the same boxes, written otherwise
    assert dataset(lake).version == first
    label(lake, {"c0-1.txt": OTHER})
    second = dataset(lake).version
    assert second != first
    assert latest(lake) == second
    assert read_manifest(lake, first).num_rows == 8
    state = json.loads(lake.get(LATEST))
    assert state["label_state"] == lake.read("annotations").num_rows


REFLECTION = {"origin": "yolo", "options": {"class_ids": {"0": 0, "1": "reflection"}}}
MARKED = {"cause": "reflection", "x1": 12.0, "y1": 9.0, "x2": 36.0, "y2": 27.0}


def test_hard_negatives_are_in_the_manifest_and_in_no_box(lake: Lake) -> None:
    upload(lake, {f"x/{n}.jpg": car(i) for i, n in enumerate("ab")})
    label(lake, {"x/a.txt": BOX, "x/b.txt": ""}, REFLECTION)
    first = dataset(lake)
    assert first.manifest["negatives"].to_pylist() == [None, None]
    assert "negatives" not in first.summary["all"]
    label(lake, {"x/a.txt": BOX + OTHER, "x/b.txt": OTHER}, REFLECTION)
    second = dataset(lake)
    assert second.manifest["negatives"].to_pylist() == [[MARKED], [MARKED]]
    assert second.manifest["boxes"].to_pylist() == first.manifest["boxes"].to_pylist()
    assert second.summary["all"] == first.summary["all"] | {"negatives": {"reflection": 2}}
    assert second.version != first.version
    assert second.summary["content_digest"] == first.summary["content_digest"]  # content_digest.py says why


def test_without_hard_negatives_the_version_is_that_of_earlier_releases() -> None:
    """The expected digits are those of the release before the class map had causes and the manifest negatives."""
    row = dict.fromkeys(MANIFEST.names) | {
        "image_id": "a", "split": "train", "width": 200, "scale": 0.5,
        "boxes": [{"class_id": 1, "x1": 1.0, "y1": 2.0, "x2": 30.5, "y2": 40.0}],
    }  # fmt: skip
    assert version_of([row], RULES) == version_of([row | {"negatives": []}], RULES) == "14267ea720f6cc33"
    others = [[MARKED], [MARKED | {"cause": "dirt"}], [MARKED | {"x1": 12.5}]]
    assert len({version_of([row | {"negatives": n}], RULES) for n in [None, *others]}) == 4
    causes = RULES.class_map.model_copy(update={"not_damage": ("glare",)})
    assert version_of([row], RULES.model_copy(update={"class_map": causes})) == "14267ea720f6cc33"


def test_near_duplicates_of_two_splits_are_excluded(lake: Lake) -> None:
    fill(lake, range(4))
    split_rows = rows(lake)
    train, val = (next(n for n, r in split_rows.items() if r["split"] == s) for s in ("train", "val"))
    seeds = {f"c{c}-{p}.jpg": 1000 + 2 * c + p for c in range(4) for p in range(2)}
    upload(
        lake,
        {
            "again.jpg": car(seeds[train], quality=60),
            "x.jpg": car(seeds[train], quality=55),
            "y.jpg": car(seeds[val], quality=55),
            "far.jpg": car(999),
        },
        {"x.jpg": "both", "y.jpg": "both"},
    )
    label(lake, {"again.txt": BOX, "x.txt": BOX, "y.txt": BOX, "far.txt": BOX})
    built = dataset(lake)
    now = {r["key"].removeprefix("raw/uploads/"): r for r in built.manifest.to_pylist()}
    assert (now["again.jpg"]["split"], now["again.jpg"]["group_id"]) == ("train", split_rows[train]["group_id"])
    assert now["x.jpg"]["split"] == now["y.jpg"]["split"] == EXCLUDED
    assert now["far.jpg"]["split"] != EXCLUDED
    assert now["far.jpg"]["group_id"] not in {r["group_id"] for n, r in now.items() if n != "far.jpg"}
    assert built.summary["excluded"] == dict.fromkeys(
        sorted(now[n]["image_id"] for n in ("x.jpg", "y.jpg")), "its car has near-duplicates in train and val"
    )
    assert {n: now[n]["split"] for n in split_rows} == {n: r["split"] for n, r in split_rows.items()}


def test_the_folder_says_what_it_is(lake: Lake) -> None:
    fill(lake, range(3))
    built = dataset(lake)
    folder = f"datasets/{built.version}"
    assert {o.key for o in lake.list(f"{folder}/")} == {
        f"{folder}/{n}" for n in ("manifest.parquet", "summary.json", "data.yaml")
    }
    assert json.loads(lake.get(f"{folder}/summary.json")) == built.summary
    assert yaml.safe_load(lake.get(f"{folder}/data.yaml"))["names"] == {0: "scratch", 1: "dent"}


def test_detectors_get_boxes_in_the_pixels_of_the_processed_image(lake: Lake) -> None:
    fill(lake, range(4))
    built = dataset(lake)
    data = training_set(lake, built.version, class_names=("scratch", "dent"))
    boxes = [i.xyxy.tolist() for i in data.images if len(i.xyxy)]
    assert boxes
    assert boxes[0][0] == pytest.approx([24, 12, 40, 36])
    assert all(i.path.is_file() and (i.width, i.height) == (64, 48) for i in data.images)


def test_a_damaged_copy_is_named(lake: Lake) -> None:
    fill(lake, range(3))
    for data in (b"", b"no jpeg"):
        with pytest.raises(ValueError, match=r"objects/x.jpg cannot be decoded"):
            dataset_thumbnails(data, "objects/x.jpg")


_KILLED = """
import os, signal, sys
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets_tests.data.small_lake import dataset
root, method, when, n = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
plain, calls = getattr(Lake, method), []
def deadly(self, *args):
    calls.append(args)
    if len(calls) == n and when == "before":
        os.kill(os.getpid(), signal.SIGKILL)
    result = plain(self, *args)
    if len(calls) == n and when == "after":
        os.kill(os.getpid(), signal.SIGKILL)
    return result
setattr(Lake, method, deadly)
dataset(Lake.open(root))
"""


# Writes in order: splits, golden, summary, data.yaml, manifest, latest.
@pytest.mark.slow
@pytest.mark.parametrize(("method", "when", "n"), [("append", "after", 1), ("put", "before", 5)])
def test_killed_anywhere_the_next_run_finishes(lake: Lake, method: str, when: str, n: int) -> None:
    fill(lake, range(4))
    killed = subprocess.run(
        [sys.executable, "-c", _KILLED, lake.url, method, when, str(n)],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[3],
        timeout=120,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    built = dataset(lake)
    assert latest(lake) == built.version
    assert read_manifest(lake, built.version) == built.manifest
    assert sorted(lake.read("splits")["image_id"].to_pylist()) == built.manifest["image_id"].to_pylist()
    assert json.loads(lake.get(golden.key(1)))["images"] == [
        r["image_id"] for r in built.manifest.to_pylist() if r["split"] == "test"
    ]
    assert len({o.key.split("/")[1] for o in lake.list("datasets/") if o.key != LATEST}) == 1


def test_a_label_whose_copy_is_not_made_yet_keeps_the_next_dataset_due(lake: Lake) -> None:
    from carsdepo_assets.lake.label_state import label_state

    fill(lake, range(4))
    dataset(lake)
    built = json.loads(lake.get(LATEST))["label_state"]
    assert built == label_state(lake)
    lake.append(
        "annotations",
        [{"revision_id": "r", "image_id": "f" * 64, "batch_id": "late", "sequence": 10**6, "boxes": []}],
        "late",
    )
    assert label_state(lake) == built
    assert dataset(lake).version
    assert json.loads(lake.get(LATEST))["label_state"] == built
    lake.append("processed", [{"image_id": "f" * 64}], "late")
    assert label_state(lake) == built + 1


def test_the_pointer_says_when_its_labels_were_first_seen(lake: Lake) -> None:
    fill(lake, range(4))
    build_dataset(lake, RULES, NOW)
    first = json.loads(lake.get(LATEST))
    build_dataset(lake, RULES, NOW + timedelta(hours=1))
    assert json.loads(lake.get(LATEST)) == first  # nothing new: what is asked for since waits for labels
    assert datetime.fromisoformat(first["at"]) == NOW
    label(lake, {"c0-0.txt": OTHER})
    build_dataset(lake, RULES, NOW + timedelta(hours=2))
    assert datetime.fromisoformat(json.loads(lake.get(LATEST))["at"]) == NOW + timedelta(hours=2)
