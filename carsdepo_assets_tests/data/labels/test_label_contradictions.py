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


def part(categories: dict[int, str], *boxes: tuple[int, float]) -> bytes:
    """A COCO file of a.jpg. boxes: category and left edge."""
    return files.coco(
        *({"id": i, "image_id": 1, "category_id": c, "bbox": [x, 5, 9, 9]} for i, (c, x) in enumerate(boxes)),
        {"id": 99, "image_id": 2, "category_id": min(categories), "bbox": [1, 5, 9, 9]},
        images=[{"id": 1, "file_name": "a.jpg"}, {"id": 2, "file_name": "absent.jpg"}],
        categories=[{"id": i, "name": name} for i, name in categories.items()],
    )


def of_map(**class_ids: int | str | None) -> dict[str, Any]:
    return {"origin": "coco", "options": {"import": "x", "format": "coco", "class_ids": class_ids}}


def said(lake: Lake, image: int = 0) -> list[list[int | str]]:
    """The classes and causes of what counts."""
    rows = latest_revisions(lake.read("annotations")).to_pylist()
    return [sorted([b["class_id"] for b in r["boxes"]]) + [n["cause"] for n in r["negatives"] or ()] for r in rows]


@pytest.mark.parametrize("targets", [(1, 0), (1, None), (1, "reflection"), ("reflection", 0), (1, 0, 1), (0, None, 1)])
def test_a_file_with_another_map_says_nothing_of_what_it_said_before(lake: Lake, targets: Sequence[Any]) -> None:
    for target in targets:
        label(lake, {"x/1.json": part({1: "x"}, (1, 5))}, of_map(x=target))
    assert said(lake) == [[] if targets[-1] is None else [targets[-1]]]


@pytest.mark.parametrize("record", [None, {"origin": "coco", "options": {"import": "x", "format": "coco"}}])
@pytest.mark.parametrize(
    ("corrected", "expected"),
    [
        (part({1: "scratch", 2: "scratch"}, (1, 5), (2, 30)), [[0, 0]]),  # renamed
        (part({1: "scratch"}, (1, 5)), [[0]]),  # the dent went with its category
        (part({2: "dent"}, (2, 30)), [[1]]),
        (part({1: "dent", 2: "scratch"}, (1, 5)), [[1]]),
        (part({1: "rust"}), [[]]),
    ],
)
@pytest.mark.slow
def test_a_corrected_file_replaces_all_that_it_said(
    lake: Lake, corrected: bytes, expected: list[list[int]], record: dict[str, Any] | None
) -> None:
    both = part({1: "scratch", 2: "dent"}, (1, 5), (2, 30))
    for text in (both, corrected, both, corrected):
        label(lake, {"x/1.json": text}, record)
    assert said(lake) == expected


@pytest.mark.parametrize("record", [None, {"origin": "coco", "options": {"import": "x", "format": "coco"}}])
@pytest.mark.parametrize("first", [("1.json", "2.json"), ("1.json",), ("2.json",), ("2.json", "1.json")])
@pytest.mark.parametrize("in_one", [True, False])
@pytest.mark.slow
def test_of_files_of_a_class_each_the_corrected_one_changes_alone(
    lake: Lake, first: Sequence[str], in_one: bool, record: dict[str, Any] | None
) -> None:
    texts: dict[str, str | bytes] = {"1.json": part({1: "scratch"}, (1, 5)), "2.json": part({1: "dent"}, (1, 30))}
    names = dict.fromkeys([*first, *texts])
    for batch in [texts] if in_one else [{name: texts[name]} for name in names]:
        label(lake, {f"x/{name}": text for name, text in batch.items()}, record)
    assert said(lake) == [[0, 1]]
    label(lake, {"x/1.json": part({1: "scratch"})}, record)
    assert said(lake) == [[1]]
    label(lake, {"x/1.json": part({1: "scratch"}, (1, 50), (1, 70))}, record)
    label(lake, {"x/2.json": part({1: "rust"}, (1, 30))}, record)  # no class of ours: refused, what was there stays
    label(lake, {"x/2.json": part({1: "dent"})}, record)
    assert said(lake) == [[0, 0]]


@pytest.mark.parametrize("order", [("1.json", "2.json"), ("2.json", "1.json")])
def test_a_file_whose_words_went_into_a_union_contradicts_too(lake: Lake, order: Sequence[str]) -> None:
    texts = {"1.json": part({1: "scratch"}, (1, 5)), "2.json": part({1: "dent"}, (1, 30))}
    record = of_map(scratch=0, dent=1)
    batches(lake, {name: texts[name] for name in order}, {"3.json": part({1: "dent"}, (1, 60))}, record=record)
    assert {key for key, reason in refused(lake) if reason == "contradiction"} == {"1.json", "2.json", "3.json"}
    assert counting(lake) == []


def test_a_file_that_is_gone_is_not_read_against_the_one_in_its_place(lake: Lake) -> None:
    record = RECORD | {"gone": ["raw/labels/x/a.txt"]}
    batches(lake, {"a.txt": ONE, "copy.txt": TWO}, record=record)  # as where both waited for the photograph
    assert (refused(lake), counting(lake)) == ([], [[1]])


def test_the_history_says_what_was_withdrawn(lake: Lake) -> None:
    batches(lake, {"a.txt": ONE}, {"copy.txt": TWO})
    image = lake.read("annotations")["image_id"].to_pylist()[0]
    told = label_history(lake, image, RULES)["revisions"]
    assert [(one["state"], one["counts"]) for one in told] == [("reviewed", False), ("withdrawn", False)]
