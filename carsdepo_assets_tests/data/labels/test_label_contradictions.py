"""data/labels/label_contradictions.py: files of one import that contradict each other are refused, whatever their
batches."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from carsdepo_assets.data.batches.quarantine import BusinessFiles, quarantined_files
from carsdepo_assets.data.labels.label_history import label_history
from carsdepo_assets.data.labels.label_revisions import LabelsResult
from carsdepo_assets.lake.annotations import latest_revisions
from carsdepo_assets.lake.label_state import label_state
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets_tests.data import label_documents as files
from carsdepo_assets_tests.data.small_lake import RULES, car, dataset, label, upload

ONE, TWO, THREE = "0 0.5 0.5 0.25 0.5\n", "1 0.25 0.25 0.25 0.25\n", "0 0.6 0.6 0.25 0.25\n"
RECORD: dict[str, Any] = {"origin": "yolo", "options": {"import": "x", "format": "yolo", "class_ids": {"0": 0, "1": 1}}}


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    lake = Lake.open(tmp_path / "lake")
    upload(lake, {"x/a.jpg": car(0), "x/copy.jpg": car(0), "x/other.jpg": car(1)})
    return lake


def batches(lake: Lake, *parts: dict[str, str | bytes], record: dict[str, Any] | None = None) -> list[LabelsResult]:
    """One batch after the other, all of the import x."""
    return [label(lake, {f"x/{n}": t for n, t in part.items()}, record or RECORD) for part in parts]


def refused(lake: Lake) -> list[tuple[str, str]]:
    rows = lake.read("quarantine").to_pylist()
    return sorted((row["key"].removeprefix("raw/labels/x/"), row["reason"]) for row in rows)


def counting(lake: Lake) -> list[list[int]]:
    return [[b["class_id"] for b in row["boxes"]] for row in latest_revisions(lake.read("annotations")).to_pylist()]


BOTH = [("a.txt", "contradiction"), ("copy.txt", "contradiction")]


@pytest.mark.parametrize("order", [("a.txt", "copy.txt"), ("copy.txt", "a.txt")])
@pytest.mark.parametrize("second", [TWO, ""])
def test_the_order_of_batches_makes_no_difference(lake: Lake, order: Sequence[str], second: str) -> None:
    texts = {"a.txt": ONE, "copy.txt": second}
    batches(lake, *({name: texts[name]} for name in order), {"other.txt": ONE})
    assert refused(lake) == BOTH
    assert counting(lake) == [[0]]  # of the other photograph
    assert len(dataset(lake).manifest) == 1
    assert label_state(lake) == 3  # what was, that it is withdrawn, and the other one
    open_ones = quarantined_files(lake, BusinessFiles({}, frozenset()))
    assert [(file.state, file.reasons) for file in open_ones] == [("open", ["contradiction"])] * 2


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ([{"a.txt": ONE}, {"copy.txt": ONE}], [[0]]),  # they agree
        ([{"a.txt": ONE}, {"a.txt": TWO}], [[1]]),  # a correction
        ([{"a.txt": ONE}, {"a.txt": TWO}, {"copy.txt": TWO}], [[1]]),  # it agrees with the corrected file
        ([{"a.txt": ONE}, {"a.txt": TWO, "copy.txt": TWO}], [[1]]),
        ([{"a.txt": ONE}, {"copy.txt": TWO}, {"a.txt": TWO}], [[1]]),  # corrected afterwards
        ([{"a.txt": ONE}, {"copy.txt": TWO}, {"a.txt": THREE}], [[0]]),
        ([{"a.txt": ONE}, {"copy.txt": "broken"}], [[0]]),  # what cannot be read contradicts nothing
    ],
)
def test_what_is_no_contradiction(lake: Lake, parts: list[dict[str, str | bytes]], expected: list[list[int]]) -> None:
    batches(lake, *parts)
    assert counting(lake) == expected


def test_a_file_that_the_import_has_no_more_is_an_export_of_before(lake: Lake) -> None:
    batches(lake, {"a.txt": ONE})
    batches(lake, {"copy.txt": TWO}, record=RECORD | {"gone": ["raw/labels/x/a.txt"]})
    assert (refused(lake), counting(lake)) == ([], [[1]])


def test_a_file_that_waits_to_be_read_again_does_not_stand(lake: Lake) -> None:
    batches(lake, {"a.txt": ONE})
    swapped = json.loads(json.dumps(RECORD))
    swapped["options"]["class_ids"] = {"0": 1, "1": 0}
    batches(lake, {"copy.txt": ONE}, record=swapped)  # a.txt is listed with it, as it has another meaning now
    assert (refused(lake), counting(lake)) == ([], [[1]])


def test_dropped_files_and_answers_to_a_queue_correct_each_other(lake: Lake) -> None:
    upload(lake, {"queue/q1/a.jpg": car(0), "queue/q2/a.jpg": car(0)})
    label(lake, {"x/a.txt": ONE})
    label(lake, {"x/copy.txt": TWO})
    assert counting(lake) == [[1]]
    for name, text in (("queue/q1/a.txt", ONE), ("queue/q2/a.txt", TWO)):
        label(
            lake, {name: text}, {"origin": "annotator", "options": {"import": "queue", "class_ids": {"0": 0, "1": 1}}}
        )
    assert (refused(lake), counting(lake)) == ([], [[1]])


def test_named_annotators_may_differ(tmp_path: Path) -> None:
    lake = Lake.open(tmp_path / "lake")
    upload(lake, {"x/a.jpg": car(0, width=200, height=100)})
    record = {"origin": "labelstudio", "options": {"import": "x", "class_ids": {"scratch": 0, "dent": 1}}}
    for name, by in (("one.json", 1), ("two.json", 2)):
        region = files.region("scratch", 10 * by, 10, 20, 20)
        label(lake, {f"x/{name}": files.labelstudio(files.task(files.annotation(region, by=by)))}, record)
    assert refused(lake) == []
    assert len(lake.read("annotations")) == 2


def test_files_of_one_class_each_are_united_and_corrected(lake: Lake) -> None:
    def one(category: int, left: float) -> bytes:
        names = {1: "scratch", 2: "dent"}
        return files.coco(
            {"id": 1, "image_id": 1, "category_id": category, "bbox": [left, 5, 9, 9]},
            images=[{"id": 1, "file_name": "a.jpg"}],
            categories=[{"id": category, "name": names[category]}],
        )

    record = {"origin": "coco", "options": {"import": "x", "format": "coco", "class_ids": {"1": 0, "2": 1}}}
    batches(lake, {"1.json": one(1, 5)}, {"2.json": one(2, 30)}, {"1.json": one(1, 50)}, record=record)
    assert (refused(lake), counting(lake)) == ([], [[0, 1]])
    batches(lake, {"3.json": one(2, 60)}, record=record)
    assert {key for key, _ in refused(lake)} >= {"2.json", "3.json"}
    assert counting(lake) == []


def test_the_history_says_what_was_withdrawn(lake: Lake) -> None:
    batches(lake, {"a.txt": ONE}, {"copy.txt": TWO})
    image = lake.read("annotations")["image_id"].to_pylist()[0]
    told = label_history(lake, image, RULES)["revisions"]
    assert [(one["state"], one["counts"]) for one in told] == [("reviewed", False), ("withdrawn", False)]
