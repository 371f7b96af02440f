"""data/labels/label_revisions.py, labelled_photographs.py: label files become revisions of photographs, or
quarantine."""

from __future__ import annotations

import hashlib
import json
import signal
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from carsdepo_assets.data.batches.batches import BatchError, plan_batches
from carsdepo_assets.data.labels.label_revisions import PROBLEMS_A_FILE, ingest_labels, revision_id
from carsdepo_assets.lake.annotations import latest_revisions
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets_tests.data.photograph_files import NOW
from carsdepo_assets_tests.data.small_lake import HEIGHT, RULES, WIDTH, car, close_labels, label, upload

ONE, TWO = "0 0.5 0.5 0.25 0.5\n", "1 0.25 0.25 0.25 0.25\n"


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake.open(tmp_path / "lake")


def image_id(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def problems(result: Any) -> list[tuple[str, str, int | None]]:
    rows = result.quarantined.to_pylist()
    return sorted((r["key"].removeprefix("raw/labels/"), r["reason"], r["line"]) for r in rows)


def owners(result: Any) -> dict[str, str]:
    return {r["key"].removeprefix("raw/labels/"): r["image_id"] for r in result.rows.to_pylist()}


def latest(lake: Lake) -> dict[str, Any]:
    return {r["image_id"]: r for r in latest_revisions(lake.read("annotations")).to_pylist()}


def test_a_label_becomes_a_revision_in_upright_pixels(lake: Lake) -> None:
    upload(lake, {"x/a.jpg": car(1)})
    result = label(lake, {"x/a.txt": ONE + TWO})
    (row,) = result.rows.to_pylist()
    assert row["image_id"] == image_id(car(1))
    assert (row["origin"], row["class_map_version"], row["sequence"], row["created_at"]) == ("yolo", 1, 1, NOW)
    assert row["sha256"] == hashlib.sha256((ONE + TWO).encode()).hexdigest()
    assert row["boxes"] == [
        {"class_id": 0, "x1": 0.375 * WIDTH, "y1": 0.25 * HEIGHT, "x2": 0.625 * WIDTH, "y2": 0.75 * HEIGHT},
        {"class_id": 1, "x1": 0.125 * WIDTH, "y1": 0.125 * HEIGHT, "x2": 0.375 * WIDTH, "y2": 0.375 * HEIGHT},
    ]
    assert row["revision_id"] == revision_id(row["image_id"], row["boxes"][::-1], 1, "yolo")


def test_an_empty_file_is_reviewed_without_damage(lake: Lake) -> None:
    upload(lake, {"a.jpg": car(1)})
    assert label(lake, {"a.txt": ""}).rows["boxes"].to_pylist() == [[]]


def test_a_bad_line_costs_its_file_and_no_other(lake: Lake) -> None:
    upload(lake, {f"{n}.jpg": car(i) for i, n in enumerate("abcdef")})
    result = label(
        lake,
        {
            "a.txt": ONE,
            "b.txt": ONE + "7 .5 .5 .1 .1\n",
            "c.txt": "0 nan .5 .1 .1\n0 3 .5 .1 .1\n" + ONE,
            "d.txt": "0 .5 .5 0 .1",
            "e.txt": b"\xff\xfe0",
            "f.manifest": "{}",
            "nobody.txt": ONE,
        },
    )
    assert problems(result) == [
        ("b.txt", "unknown_class", 2),
        ("c.txt", "not_a_number", 1),
        ("c.txt", "outside_image", 2),
        ("d.txt", "no_area", 1),
        ("e.txt", "not_text", None),
        ("f.manifest", "unsupported_format", None),
        ("nobody.txt", "no_photograph", None),
    ]
    assert owners(result) == {"a.txt": image_id(car(0))}
    assert set(result.quarantined["kind"].to_pylist()) == {"label"}


def test_a_hopeless_file_does_not_fill_the_quarantine(lake: Lake) -> None:
    upload(lake, {"a.jpg": car(1)})
    rows = label(lake, {"a.txt": "x\n" * 500}).quarantined.to_pylist()
    assert len(rows) == PROBLEMS_A_FILE
    assert rows[-1]["detail"].endswith(f"and {500 - PROBLEMS_A_FILE} more problems")


def test_notes_say_what_was_mended(lake: Lake) -> None:
    upload(lake, {"a.jpg": car(1)})
    batch = close_labels(lake, {"a.txt": ONE + ONE})
    for _ in range(2):
        assert ingest_labels(lake, batch, RULES, NOW).notes == {
            "raw/labels/a.txt": ["line 2: the same box again, kept once"]
        }


@pytest.mark.parametrize("uploaded", ["a.jpg", "a.JPEG", "deep/er/a.png"])
def test_the_suffix_of_the_photograph_does_not_count(lake: Lake, uploaded: str) -> None:
    upload(lake, {uploaded: car(1)})
    assert label(lake, {uploaded.rpartition(".")[0] + ".txt": ONE}).rows.num_rows == 1


def test_a_label_beside_the_second_copy_is_the_same_photographs(lake: Lake) -> None:
    upload(lake, {"a.jpg": car(1), "again/b.jpg": car(1)})
    assert owners(label(lake, {"again/b.txt": ONE})) == {"again/b.txt": image_id(car(1))}


def test_two_photographs_of_one_name_are_not_guessed(lake: Lake) -> None:
    upload(lake, {"a.jpg": car(1), "a.png": car(2), "same.jpg": car(3), "same.jpeg": car(3)})
    result = label(lake, {"a.txt": ONE, "same.txt": ONE})
    assert problems(result) == [("a.txt", "ambiguous_photograph", None)]
    assert owners(result) == {"same.txt": image_id(car(3))}


def test_an_overwritten_photograph_is_the_one_that_is_there_now(lake: Lake) -> None:
    upload(lake, {"a.jpg": car(1)})
    upload(lake, {"a.jpg": car(2, width=WIDTH + 2)})
    assert owners(label(lake, {"a.txt": ONE})) == {"a.txt": image_id(car(2, width=WIDTH + 2))}


def test_a_refused_photograph_is_named_as_the_reason(lake: Lake) -> None:
    upload(lake, {"a.jpg": b"no photograph"})
    (row,) = label(lake, {"a.txt": ONE}).quarantined.to_pylist()
    assert row["reason"] == "no_photograph"
    assert "in quarantine itself: not_an_image" in row["detail"]


def test_the_latest_revision_counts_and_the_same_again_is_none(lake: Lake) -> None:
    upload(lake, {"a.jpg": car(1)})
    seen = []
    for i, text in enumerate((ONE, ONE + "\n", TWO, ONE, ONE + ONE)):
        batch = close_labels(lake, {"a.txt": text + " " * i})  # another size: another object
        seen.append(ingest_labels(lake, batch, RULES, NOW).rows.num_rows)
        (row,) = latest(lake).values()
        assert row["boxes"][0]["class_id"] == (1 if text is TWO else 0)
    assert seen == [1, 0, 1, 1, 0]
    assert sorted(lake.read("annotations")["sequence"].to_pylist()) == [1, 2, 3]
    ids = {r["sequence"]: r["revision_id"] for r in lake.read("annotations").to_pylist()}
    assert ids[1] == ids[3] != ids[2]


def test_an_imports_ids_and_origin(lake: Lake) -> None:
    upload(lake, {"mine/a.jpg": car(1), "mine/b.jpg": car(2)})
    record = {"origin": "sample", "options": {"class_ids": {"3": 1}}}
    result = label(lake, {"mine/a.txt": "3 .5 .5 .5 .5", "mine/b.txt": ONE}, record)
    (row,) = result.rows.to_pylist()
    assert (row["origin"], row["boxes"][0]["class_id"]) == ("sample", 1)
    assert problems(result) == [("mine/b.txt", "unknown_class", 1)]


def coco(*images: tuple[str, list[int] | None]) -> str:
    """images: (file name, bbox)."""
    return json.dumps(
        {
            "images": [{"id": i, "file_name": name} for i, (name, _) in enumerate(images)],
            "annotations": [
                {"id": i, "image_id": i, "category_id": 5, "bbox": box}
                for i, (_, box) in enumerate(images)
                if box is not None
            ],
            "categories": [{"id": 5, "name": "dent"}],
        }
    )


def test_one_coco_file_for_many_photographs(lake: Lake) -> None:
    upload(lake, {"x/a.jpg": car(1), "x/in/b.jpg": car(2), "x/in/c.jpg": car(3), "x/d.jpg": car(4)})
    result = label(
        lake,
        {
            "x/all.json": coco(
                ("a.jpg", [1, 2, 30, 40]),
                ("images/in/b.jpg", None),
                ("c.jpg", [9, 9, 9, 9]),
                ("d.jpg", [900, 1, 5, 5]),
                ("gone.jpg", None),
            )
        },
    )
    boxes = {r["image_id"]: r["boxes"] for r in result.rows.to_pylist()}
    assert boxes == {
        image_id(car(1)): [{"class_id": 1, "x1": 1.0, "y1": 2.0, "x2": 31.0, "y2": 42.0}],
        image_id(car(2)): [],
        image_id(car(3)): [{"class_id": 1, "x1": 9.0, "y1": 9.0, "x2": 18.0, "y2": 18.0}],
    }
    assert sorted(r["reason"] for r in result.quarantined.to_pylist()) == ["no_photograph", "outside_image"]
    assert set(result.rows["origin"].to_pylist()) == {"coco"}


def test_coco_never_takes_another_imports_photograph(lake: Lake) -> None:
    upload(
        lake, {"one/IMG_1.jpg": car(1), "two/other.jpg": car(2), "two/p/IMG_2.jpg": car(3), "two/q/IMG_2.jpg": car(4)}
    )
    result = label(
        lake,
        {
            "two/annotations/all.json": coco(
                ("IMG_1.jpg", [1, 1, 5, 5]), ("IMG_2.jpg", [1, 1, 5, 5]), ("other.jpg", None)
            )
        },
    )
    assert owners(result) == {"two/annotations/all.json": image_id(car(2))}
    assert sorted(r["reason"] for r in result.quarantined.to_pylist()) == ["ambiguous_photograph", "no_photograph"]


def test_coco_in_the_root_looks_everywhere(lake: Lake) -> None:
    upload(lake, {"one/IMG_1.jpg": car(1)})
    assert label(lake, {"all.json": coco(("IMG_1.jpg", None))}).rows.num_rows == 1


def test_one_photograph_twice_in_a_file_must_agree(lake: Lake) -> None:
    upload(lake, {"a.jpg": car(1), "copy.jpg": car(1), "b.jpg": car(2), "copy2.jpg": car(2)})
    result = label(
        lake,
        {
            "all.json": coco(
                ("a.jpg", [1, 1, 5, 5]),
                ("copy.jpg", [2, 2, 5, 5]),
                ("b.jpg", [1, 1, 5, 5]),
                ("copy2.jpg", [1, 1, 5, 5]),
            )
        },
    )
    assert result.rows["image_id"].to_pylist() == [image_id(car(2))]
    assert result.quarantined["reason"].to_pylist() == ["contradiction"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "truncated"),
        ("{]", "malformed"),
        ("[]", "unsupported_format"),
        ('{"images": [], "annotations": 3}', "malformed"),
    ],
)
def test_a_json_that_is_no_coco(lake: Lake, text: str, reason: str) -> None:
    upload(lake, {"a.jpg": car(1)})
    result = label(lake, {"all.json": text, "a.txt": ONE})
    assert problems(result) == [("all.json", reason, None)]
    assert result.rows.num_rows == 1


def test_half_a_surrogate_pair_is_no_reason_to_stop(lake: Lake) -> None:
    upload(lake, {"a.jpg": car(1)})
    assert label(lake, {"all.json": coco(("\ud800.jpg", None))}).quarantined["reason"].to_pylist() == ["no_photograph"]


def test_a_file_that_went_and_a_batch_that_never_was(lake: Lake) -> None:
    upload(lake, {"a.jpg": car(1)})
    batch = close_labels(lake, {"a.txt": ONE})
    lake.delete("raw/labels/a.txt")
    assert problems(ingest_labels(lake, batch, RULES, NOW)) == [("a.txt", "gone", None)]
    with pytest.raises(BatchError):
        ingest_labels(lake, "20260301T120000000000-0123456789ab", RULES, NOW)


_KILLED = """
import os, signal, sys
from carsdepo_assets.data.labels.label_revisions import ingest_labels
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets_tests.data.photograph_files import NOW
from carsdepo_assets_tests.data.small_lake import RULES
root, batch, when, n = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
plain, calls = Lake.append, []
def deadly(self, *args):
    calls.append(args)
    if len(calls) == n and when == "before":
        os.kill(os.getpid(), signal.SIGKILL)
    result = plain(self, *args)
    if len(calls) == n and when == "after":
        os.kill(os.getpid(), signal.SIGKILL)
    return result
Lake.append = deadly
ingest_labels(Lake.open(root), batch, RULES, NOW)
"""


@pytest.mark.slow
@pytest.mark.parametrize(("when", "n"), [("before", 1), ("after", 1), ("after", 2)])
def test_killed_anywhere_the_next_run_finishes(lake: Lake, when: str, n: int) -> None:
    upload(lake, {"a.jpg": car(1), "b.jpg": car(2)})
    batch = close_labels(lake, {"a.txt": ONE, "b.txt": TWO, "nobody.txt": ONE})
    killed = subprocess.run(
        [sys.executable, "-c", _KILLED, lake.url, batch, when, str(n)],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[3],
        timeout=120,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    first = ingest_labels(lake, batch, RULES, NOW)
    assert ingest_labels(lake, batch, RULES, NOW) == first
    assert sorted(lake.read("annotations")["sequence"].to_pylist()) == [1, 2]
    assert lake.read("quarantine").num_rows == 1


def test_a_label_whose_photograph_came_later_gets_another_batch_and_only_one(lake: Lake) -> None:
    upload(lake, {"x/other.jpg": car(9)})
    first = label(lake, {"x/a.txt": ONE, "x/never.txt": TWO})
    assert [r for _, r, _ in problems(first)] == ["no_photograph", "no_photograph"]
    later = NOW + timedelta(hours=1)
    assert plan_batches(lake, "labels", RULES, later) == []
    upload(lake, {"x/a.jpg": car(1)})
    (batch,) = plan_batches(lake, "labels", RULES, later)
    assert [o.key for o in batch.objects] == ["raw/labels/x/a.txt"]
    assert plan_batches(lake, "labels", RULES, later) == []
    assert owners(ingest_labels(lake, batch.batch_id, RULES, later)) == {"x/a.txt": image_id(car(1))}
    assert plan_batches(lake, "labels", RULES, later + timedelta(hours=1), close_all=True) == []
