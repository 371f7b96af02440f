"""data/labels/label_claims.py, data/labels/label_classes.py: what a batch says in all, and what its classes mean."""

from __future__ import annotations

import hashlib
import json
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest

from carsdepo_assets.data.batches.batches import plan_batches
from carsdepo_assets.data.datasets.dataset import NoLabelledPhotographs
from carsdepo_assets.data.labels.formats.parsed import Parsed
from carsdepo_assets.data.labels.label_claims import Claim, settle
from carsdepo_assets.data.labels.label_revisions import LabelsResult, ingest_labels
from carsdepo_assets.lake.annotations import labelled_photographs, latest_revisions
from carsdepo_assets.lake.label_state import label_state, newest_label
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets_tests.data import label_documents as files
from carsdepo_assets_tests.data.photograph_files import NOW
from carsdepo_assets_tests.data.small_lake import RULES, car, dataset, label, upload

ONE, TWO = "0 0.5 0.5 0.25 0.5\n", "1 0.25 0.25 0.25 0.25\n"
SCRATCH, DENT = {"id": 4, "name": "scratch"}, {"id": 7, "name": "dent"}


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake.open(tmp_path / "lake")


def drop(lake: Lake, files_: dict[str, str | bytes]) -> LabelsResult:
    """Label files without an import, and without a list of names unless one is among them."""
    for name, data in files_.items():
        lake.put(f"raw/labels/{name}", data if isinstance(data, bytes) else data.encode())
    (manifest,) = plan_batches(lake, "labels", RULES, NOW, close_all=True)
    return ingest_labels(lake, manifest.batch_id, RULES, NOW)


def reasons(result: LabelsResult) -> list[tuple[str, str]]:
    rows = result.quarantined.to_pylist()
    return sorted((r["key"].removeprefix("raw/labels/"), r["reason"]) for r in rows)


def current(lake: Lake) -> dict[str, list[tuple[int, float]]]:
    """(class, x1) of the boxes that count, by the seed of the photograph."""
    ids = {hashlib.sha256(car(seed)).hexdigest(): seed for seed in range(6)}
    rows = latest_revisions(lake.read("annotations")).to_pylist()
    return {f"car{ids[r['image_id']]}": [(b["class_id"], b["x1"]) for b in r["boxes"]] for r in rows}


def coco(*notes: tuple[str, int, float], images: tuple[str, ...] = (), categories: Any = (SCRATCH, DENT)) -> bytes:
    """notes: file name, category id, left edge of a box 9 x 9 pixels."""
    names = dict.fromkeys([name for name, _, _ in notes] + list(images))
    ids = {name: i for i, name in enumerate(names)}
    return files.coco(
        *[
            {"id": i, "image_id": ids[name], "category_id": category, "bbox": [left, 5, 9, 9]}
            for i, (name, category, left) in enumerate(notes)
        ]
        or [{"id": 99, "image_id": 0, "category_id": 4, "bbox": [1, 5, 9, 9]}],
        images=[{"id": i, "file_name": name} for name, i in ids.items()],
        categories=list(categories),
    )


@pytest.mark.parametrize("order", list(permutations(range(2))))
def test_one_file_a_class_is_a_union_in_any_order(lake: Lake, order: tuple[int, ...]) -> None:
    upload(lake, {"x/a.jpg": car(0), "x/b.jpg": car(1), "x/c.jpg": car(2)})
    both = [
        coco(("a.jpg", 4, 1), ("b.jpg", 4, 2), images=("c.jpg",), categories=[SCRATCH]),
        coco(("a.jpg", 7, 30), images=("b.jpg", "c.jpg"), categories=[DENT]),
    ]
    result = label(lake, {f"x/{i}.json": both[n] for i, n in enumerate(order)})
    assert reasons(result) == []
    assert current(lake) == {"car0": [(0, 1), (1, 30)], "car1": [(0, 2)], "car2": []}
    assert set(result.rows["key"].to_pylist()) == {"raw/labels/x/0.json"}


@pytest.mark.parametrize("first", [0, 1])
def test_one_file_a_class_in_two_batches_is_a_union_too(lake: Lake, first: int) -> None:
    upload(lake, {"x/a.jpg": car(0), "y/a.jpg": car(1)})
    both = [coco(("a.jpg", 4, 1), categories=[SCRATCH]), coco(("a.jpg", 7, 30), categories=[DENT])]
    label(lake, {f"x/{first}.json": both[first]})
    label(lake, {f"x/{1 - first}.json": both[1 - first]})
    assert current(lake) == {"car0": [(0, 1), (1, 30)]}
    label(lake, {"x/0.json": coco(("a.jpg", 4, 50), categories=[SCRATCH])})  # corrected: only its own class changes
    assert current(lake) == {"car0": [(0, 50), (1, 30)]}


@pytest.mark.parametrize(
    ("second", "refused"),
    [
        (coco(("a.jpg", 4, 1), ("a.jpg", 7, 30)), []),
        (coco(("a.jpg", 4, 1.4)), []),  # half a pixel is no contradiction
        (coco(("a.jpg", 7, 30)), ["contradiction"] * 2),  # it covers scratches too, and says there is none
        (coco(("a.jpg", 4, 20)), ["contradiction"] * 2),
        (coco(("a.jpg", 4, 900)), ["incomplete", "outside_image"]),
    ],
)
def test_files_with_a_class_in_common_must_agree(lake: Lake, second: bytes, refused: list[str]) -> None:
    upload(lake, {"x/a.jpg": car(0)})
    result = label(lake, {"x/1.json": coco(("a.jpg", 4, 1), categories=[SCRATCH]), "x/2.json": second})
    assert sorted(reason for _, reason in reasons(result)) == refused
    assert result.rows.num_rows == (0 if refused else 1)


@pytest.mark.parametrize("order", [("a", "copy"), ("copy", "a")])
@pytest.mark.parametrize("second", [TWO, ""])
def test_one_photograph_under_two_names_with_different_labels(lake: Lake, order: Any, second: str) -> None:
    upload(lake, {"a.jpg": car(0), "copy.jpg": car(0), "b.jpg": car(1), "copy2.jpg": car(1)})
    texts = dict(zip(order, (ONE, second), strict=True))
    result = label(lake, {"a.txt": texts["a"], "copy.txt": texts["copy"], "b.txt": ONE, "copy2.txt": ONE})
    assert reasons(result) == [("a.txt", "contradiction"), ("copy.txt", "contradiction")]
    details = [r["detail"] for r in result.quarantined.to_pylist()]
    assert {d.split(" ")[0] for d in details} == {"raw/labels/a.txt", "raw/labels/copy.txt"}
    assert result.rows["key"].to_pylist() == ["raw/labels/b.txt"]


def test_two_formats_of_one_labelling_agree(lake: Lake) -> None:
    upload(lake, {"x/a.jpg": car(0, width=200, height=100)})
    result = label(
        lake, {f"x/{name}": data for name, data in files.VALID.values()} | {"x/classes.txt": "scratch\ndent"}
    )
    assert reasons(result) == []
    (row,) = result.rows.to_pylist()
    assert [(b["class_id"], b["x1"], b["y2"]) for b in row["boxes"]] == [(0, 80, 70), (1, 20, 50)]


def export(*annotations: Any) -> bytes:
    return files.labelstudio(files.task(*annotations, image="/data/upload/1/0a1b2c3d-a.jpg"))


def region(x: float) -> dict[str, Any]:
    return files.region("dent", x, 10, 10, 10) | {"original_width": 96, "original_height": 72}


def test_annotators_who_differ_are_kept_and_the_last_one_counts(lake: Lake) -> None:
    upload(lake, {"a.jpg": car(0)})
    late = files.annotation(region(50), by=1, at="2026-02-02T00:00:00Z")
    early = files.annotation(region(10), by=2, at="2026-02-01T00:00:00Z")
    result = label(lake, {"e.json": export(late, early)})
    assert [(r["annotator"], r["boxes"][0]["x1"]) for r in result.rows.to_pylist()] == [("2", 9.6), ("1", 48.0)]
    assert current(lake) == {"car0": [(1, 48.0)]}
    assert any("2 annotators differ" in note for note in result.notes["raw/labels/e.json"])
    again = label(lake, {"e.json": export(early, late)})
    assert again.rows.num_rows == 0


def test_an_annotators_second_labelling_replaces_the_first(lake: Lake) -> None:
    upload(lake, {"a.jpg": car(0)})
    both = [files.annotation(region(x), by=1, at=f"2026-02-0{day}T00:00:00Z") for x, day in ((10, 1), (50, 2))]
    result = label(lake, {"e.json": export(*both)})
    assert (result.rows.num_rows, current(lake)) == (1, {"car0": [(1, 48.0)]})


def test_an_unfinished_photograph_has_a_row_and_no_labels(lake: Lake) -> None:
    upload(lake, {"a.jpg": car(0), "b.jpg": car(1)})
    first = label(lake, {"e.json": export()})
    assert [(r["state"], r["boxes"]) for r in first.rows.to_pylist()] == [("unreviewed", [])]
    assert (labelled_photographs(lake), label_state(lake), newest_label(lake), current(lake)) == (set(), 0, None, {})
    with pytest.raises(NoLabelledPhotographs):
        dataset(lake)
    assert label(lake, {"e.json": export() + b" "}).rows.num_rows == 0  # the same again
    label(lake, {"a.txt": ONE})
    label(lake, {"e.json": export() + b"  "})
    assert len(current(lake)["car0"]) == 1  # a later export that does not know it yet takes nothing away
    assert (label_state(lake), dataset(lake).manifest.num_rows) == (1, 1)


def test_hard_negatives_are_kept_apart(lake: Lake) -> None:
    upload(lake, {"x/a.jpg": car(0)})
    record = {"origin": "yolo", "options": {"class_ids": {"0": 0, "1": "reflection", "2": None}}}
    result = label(lake, {"x/a.txt": ONE + TWO + "2 .1 .1 .1 .1\n"}, record)
    (row,) = result.rows.to_pylist()
    assert len(row["boxes"]) == 1
    assert row["negatives"] == [{"cause": "reflection", "x1": 12.0, "y1": 9.0, "x2": 36.0, "y2": 27.0}]
    assert "class 2 is left out" in result.notes["raw/labels/x/a.txt"][0]
    (changed,) = label(lake, {"x/a.txt": ONE}).rows.to_pylist()
    assert (changed["negatives"], changed["revision_id"] == row["revision_id"]) == (None, False)


NO_NAMES = ["classes_unknown"]


@pytest.mark.parametrize(
    ("dropped", "classes"),
    [
        ({}, NO_NAMES),
        ({"classes.txt": "dent\nscratch\n"}, [1]),
        ({"x/classes.txt": "dent\nscratch\n"}, [1]),
        ({"x/in/classes.txt": "dent\nscratch\n", "x/classes.txt": "scratch\ndent\n"}, [1]),  # the nearest
        ({"x/Data.YAML": "names: {0: ' Dent', 1: scratch}"}, [1]),
        ({"x/obj.names": "dent\r\nscratch".encode("utf-16")}, [1]),
        ({"x/notes.json": '{"categories": [{"id": 0, "name": "dent"}]}'}, [1]),
        ({"x/classes.txt": "rust\nscratch\n"}, ["unknown_class"]),
        ({"x/classes.txt": "dent\n", "x/obj.names": "scratch\n"}, NO_NAMES),  # they disagree
        ({"x/notes.json": "broken"}, NO_NAMES),
        ({"y/classes.txt": "dent\nscratch\n"}, NO_NAMES),
        ({"x/classes.txt": "reflection\n"}, []),
    ],
)
def test_dropped_yolo_files_need_a_list_of_names(lake: Lake, dropped: dict[str, Any], classes: list[Any]) -> None:
    upload(lake, {"x/in/a.jpg": car(0)})
    result = drop(lake, dropped | {"x/in/a.txt": ONE})
    rows = [b["class_id"] for r in result.rows.to_pylist() for b in r["boxes"]]
    assert rows + [reason for _, reason in reasons(result)] == classes


def test_the_refusal_says_which_command_resolves_it(lake: Lake) -> None:
    upload(lake, {"a.jpg": car(0), "b.jpg": car(1)})
    result = drop(lake, {"a.txt": ONE, "b.txt": ""})
    (row,) = result.quarantined.to_pylist()
    assert "carsdepo import FOLDER --classes scratch,dent" in row["detail"]
    assert result.rows["key"].to_pylist() == ["raw/labels/b.txt"]  # no box needs no class


@pytest.mark.parametrize(
    ("dropped", "class_id"),
    [({}, 0), ({"classes.txt": "dent\n"}, 0), ({"queue/q1/classes.txt": "dent\nscratch\n"}, 1)],
)
def test_answers_to_our_queue_have_the_policys_ids(lake: Lake, dropped: dict[str, Any], class_id: int) -> None:
    upload(lake, {"queue/q1/a.jpg": car(0)})
    result = drop(lake, dropped | {"queue/q1/a.txt": ONE})
    assert [b["class_id"] for r in result.rows.to_pylist() for b in r["boxes"]] == [class_id]


@pytest.mark.parametrize(("names", "state"), [("classes.txt", "reviewed"), ("notes.json", "unreviewed")])
def test_an_empty_file_of_label_studio_may_be_an_unfinished_task(lake: Lake, names: str, state: str) -> None:
    upload(lake, {"a.jpg": car(0)})
    listed = {"classes.txt": "dent\n", "notes.json": '{"categories": [{"id": 0, "name": "dent"}]}'}
    assert drop(lake, {names: listed[names], "a.txt": ""}).rows["state"].to_pylist() == [state]


@pytest.mark.parametrize(("option", "state"), [(None, "reviewed"), (True, "unreviewed")])
def test_an_import_may_say_that_empty_files_are_unfinished(lake: Lake, option: bool | None, state: str) -> None:
    upload(lake, {"x/a.jpg": car(0)})
    record = {"origin": "yolo", "options": {"class_ids": {"0": 0}, "empty_is_unreviewed": option}}
    assert label(lake, {"x/a.txt": ""}, record).rows["state"].to_pylist() == [state]


@pytest.mark.parametrize("format", sorted(set(files.VALID) - {"yolo"}))
def test_names_of_a_dropped_file_are_the_policys(lake: Lake, format: str) -> None:
    upload(lake, {"a.jpg": car(0, width=200, height=100)})
    name, data = files.VALID[format]
    result = drop(lake, {name: data.replace(b"scratch", b" Scratch ").replace(b"dent", b"REFLECTION")})
    (row,) = result.rows.to_pylist()
    assert [b["class_id"] for b in row["boxes"]] == [0]
    assert [b["cause"] for b in row["negatives"]] == ["reflection"]
    assert row["origin"] == format


def test_an_imports_record_names_classes_by_id_or_by_name(lake: Lake) -> None:
    upload(lake, {"voc/a.jpg": car(0, width=200, height=100), "coco/a.jpg": car(1, width=200, height=100)})
    for name, ids in (("voc/a.xml", {"Scratch": 1, "dent": None}), ("coco/all.json", {"1": 1, "2": None})):
        format = name.split("/")[0]
        record = {"origin": format, "options": {"class_ids": ids}}
        (row,) = label(lake, {name: files.VALID[format][1]}, record).rows.to_pylist()
        assert [(b["class_id"], b["x1"]) for b in row["boxes"]] == [(1, 80)]


@pytest.mark.parametrize("format", ["coco+yolo", "yolo"])
def test_ids_of_yolo_are_no_ids_of_coco(lake: Lake, format: str) -> None:
    upload(lake, {"x/a.jpg": car(0, width=200, height=100), "x/b.jpg": car(1, width=200, height=100)})
    record = {"origin": format, "options": {"format": format, "class_ids": {"1": 1, "2": 1, "scratch": 0}}}
    rows = label(lake, {"x/all.json": files.VALID["coco"][1], "x/b.txt": TWO}, record).rows.to_pylist()
    read = sorted((r["key"], sorted(b["class_id"] for b in r["boxes"])) for r in rows)
    assert read == [("raw/labels/x/all.json", [0, 1]), ("raw/labels/x/b.txt", [1])]


def test_a_file_of_one_photograph_may_be_named_by_itself_or_by_its_content(lake: Lake) -> None:
    upload(lake, {f"{name}.jpg": car(i, width=200, height=100) for i, name in enumerate(("a", "b", "c"))})
    named = files.voc()  # says a.jpg
    unnamed = named.replace(b"<filename>a.jpg</filename>", b"<filename>gone.jpg</filename>")
    result = drop(lake, {"whatever.xml": named, "b.xml": unnamed, "c.xml": named, "d.xml": unnamed})
    assert reasons(result) == [("c.xml", "ambiguous_photograph"), ("d.xml", "no_photograph")]
    assert sorted(result.rows["key"].to_pylist()) == ["raw/labels/b.xml", "raw/labels/whatever.xml"]


def test_predictions_and_files_that_are_no_labels_are_refused_by_name(lake: Lake) -> None:
    upload(lake, {"a.jpg": car(0)})
    result = drop(
        lake,
        {
            "a.txt": "0 .5 .5 .1 .1 .93\n",
            "r.json": json.dumps([{"image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4], "score": 0.9}]),
            "cut.json": files.coco()[:200],
            "b.xml": "<settings/>",
        },
    )
    assert reasons(result) == [
        ("a.txt", "prediction"),
        ("b.xml", "unsupported_format"),
        ("cut.json", "truncated"),
        ("r.json", "prediction"),
    ]


def claim(key: str, *boxes: tuple[int, float], covers: set[int | str] | None = None, **more: Any) -> Claim:
    parsed = Parsed(boxes=[(c, (x, 0.0, x + 9, 9.0)) for c, x in boxes])
    return Claim(key, None, "coco", "a.jpg", parsed, None if covers is None else frozenset(covers), **more)


def test_claims_are_settled_alike_in_any_order() -> None:
    three = [claim("1", (0, 1), covers={0}), claim("2", (1, 5), covers={1}), claim("3", (1, 5), covers={1, 2})]
    against = [*three[:2], claim("3", (0, 7))]
    for order in permutations(range(3)):
        (labelling,), refused = settle([three[i] for i in order])
        assert (labelling.claim.key, [c for c, _ in labelling.entries], refused) == ("1", [0, 1], [])
        labellings, refused = settle([against[i] for i in order])
        assert labellings == []
        assert [(c.key, p.reason) for c, p in refused] == [(key, "contradiction") for key in "123"]
