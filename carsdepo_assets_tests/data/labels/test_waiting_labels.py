"""data/labels/waiting_labels.py, label_classes.py: labels in quarantine are read again when what they lacked is
there."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path

import pytest

from carsdepo_assets.data.batches.batches import open_batches, plan_batches
from carsdepo_assets.data.labels.import_records import write_import_record
from carsdepo_assets.data.labels.label_revisions import ingest_labels
from carsdepo_assets.data.objects.object_states import mark_ingested
from carsdepo_assets.lake.annotations import latest_revisions
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.lake.object_index import index_path
from carsdepo_assets_tests.data import label_documents as files
from carsdepo_assets_tests.data.photograph_files import NOW
from carsdepo_assets_tests.data.small_lake import RULES, car, upload

LABEL = "1 0.5 0.5 0.25 0.5\n"


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake.open(tmp_path / "lake")


def tick(lake: Lake, minutes: int) -> list[str]:
    """What a tick of the sensor of labels lists, once it is read."""
    at = NOW + timedelta(days=1, minutes=minutes)
    keys = [o.key.removeprefix("raw/labels/") for m in plan_batches(lake, "labels", RULES, at) for o in m.objects]
    for batch in open_batches(lake, "labels"):
        ingest_labels(lake, batch, RULES, at)
        mark_ingested(lake, "labels", batch, at)
    return keys


def put(lake: Lake, dropped: dict[str, str]) -> None:
    for name, text in dropped.items():
        lake.put(f"raw/labels/{name}", text.encode())


def classes_now(lake: Lake) -> list[int]:
    latest = latest_revisions(lake.read("annotations"))
    return [box["class_id"] for row in latest.to_pylist() for box in row["boxes"]]


def classes(lake: Lake) -> list[int]:
    return [box["class_id"] for row in lake.read("annotations").to_pylist() for box in row["boxes"]]


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ({}, {"x/in/classes.txt": "scratch\ndent\n"}, [1]),
        ({}, {"x/Data.yaml": "names: [dent, scratch]"}, [0]),
        ({}, {"classes.txt": "scratch\ndent\n"}, [1]),
        ({"x/classes.txt": "scratch\nrust\n"}, {"x/classes.txt": "scratch\ndent\n"}, [1]),  # unknown_class
        ({"x/classes.txt": "scratch\n"}, {"x/in/obj.names": "scratch\ndent\n"}, [1]),
        ({"x/notes.json": "broken"}, {"x/notes.json": '{"categories": [{"id": 1, "name": "dent"}]}'}, [1]),
        ({"x/a.names": "a\nscratch", "x/b.names": "a\ndent"}, {"x/b.names": "a\nscratch"}, [0]),
        ({}, {"x/in/classes.txt": "scratch\nrust\n"}, []),  # looked at, and still unknown
        ({}, {"y/classes.txt": "scratch\ndent\n"}, None),
        ({}, {"x/in/notes.txt": "scratch\ndent\n"}, None),
        ({"x/classes.txt": "scratch\nrust\n"}, {"x/classes.txt": "scratch\nrust\n"}, None),
    ],
)
def test_dropped_labels_are_read_again_when_names_come(
    lake: Lake, before: dict[str, str], after: dict[str, str], expected: list[int] | None
) -> None:
    upload(lake, {"x/in/a.jpg": car(0), "y/b.jpg": car(1)})
    put(lake, before | {"x/in/a.txt": LABEL})
    assert "x/in/a.txt" in tick(lake, 0)
    assert classes(lake) == []
    assert tick(lake, 1) == []
    put(lake, after)
    listed = tick(lake, 2)
    assert ("x/in/a.txt" in listed) == (expected is not None)
    assert classes(lake) == (expected or [])
    assert "x/in/a.txt" not in tick(lake, 3) + tick(lake, 90)  # once, and not by the hourly look either


def test_names_that_come_while_no_batch_is_due_are_not_forgotten(lake: Lake) -> None:
    upload(lake, {"x/a.jpg": car(0)})
    put(lake, {"x/a.txt": LABEL})
    written = NOW + timedelta(days=1)
    os.utime(lake.local_path("raw/labels/x/a.txt"), (written.timestamp(), written.timestamp()))
    assert tick(lake, 3000) == ["x/a.txt"]
    put(lake, {"x/classes.txt": "scratch\ndent\n"})
    assert plan_batches(lake, "labels", RULES, written + timedelta(seconds=1)) == []  # it is too young for a batch
    assert tick(lake, 3001) == ["x/a.txt"]
    assert classes(lake) == [1]


def test_labels_that_were_read_are_not_read_again(lake: Lake) -> None:
    upload(lake, {"x/a.jpg": car(0)})
    put(lake, {"x/a.txt": LABEL, "x/classes.txt": "scratch\ndent\n"})
    assert tick(lake, 0) == ["x/a.txt"]
    put(lake, {"x/data.yaml": "names: [scratch, dent, rust]"})
    assert tick(lake, 1) == []


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ({"x/classes.txt": "scratch\ndent\n"}, {"x/classes.txt": "dent\nscratch\n"}, [0]),
        ({"classes.txt": "scratch\ndent\n"}, {"x/data.yaml": "names: [dent, scratch]"}, [0]),  # nearer
        ({"x/classes.txt": "scratch\ndent\n"}, {"x/classes.txt": "scratch\nreflection\n"}, []),  # no damage
        ({"x/classes.txt": "scratch\ndent\n"}, {"y/classes.txt": "dent\nscratch\n"}, None),
        ({"x/classes.txt": "scratch\ndent\n"}, {"x/classes.txt": "Scratch \ndent\n"}, None),
    ],
)
@pytest.mark.parametrize("lost", [False, True])
@pytest.mark.slow
def test_a_corrected_list_takes_effect_on_labels_that_were_read(
    lake: Lake, before: dict[str, str], after: dict[str, str], expected: list[int] | None, lost: bool
) -> None:
    upload(lake, {"x/a.jpg": car(0)})
    put(lake, before | {"x/a.txt": LABEL})
    assert tick(lake, 0) == ["x/a.txt"]
    assert tick(lake, 1) == []
    put(lake, after)
    if lost:  # the local index, which is built anew from the table
        for path in index_path(lake).parent.glob("objects-*"):
            path.unlink()
    assert tick(lake, 2) == ([] if expected is None else ["x/a.txt"])
    assert classes_now(lake) == ([1] if expected is None else expected)
    assert tick(lake, 3) + tick(lake, 90) == []


def test_a_list_that_comes_while_its_labels_are_read_takes_effect(lake: Lake) -> None:
    upload(lake, {"x/a.jpg": car(0)})
    put(lake, {"x/a.txt": LABEL, "x/classes.txt": "scratch\ndent\n"})
    at = NOW + timedelta(days=1)
    (batch,) = plan_batches(lake, "labels", RULES, at)
    ingest_labels(lake, batch.batch_id, RULES, at)
    put(lake, {"x/classes.txt": "dent\nscratch\n"})
    assert plan_batches(lake, "labels", RULES, at + timedelta(minutes=1))  # its batch is not closed to its end
    assert tick(lake, 2) == []
    assert classes_now(lake) == [0]


@pytest.mark.parametrize("format", ["coco", "cvat", "labelstudio", "datumaro", "groundtruth", "labelme"])
def test_documents_are_read_again_when_their_photograph_comes(lake: Lake, format: str) -> None:
    name, data = files.VALID[format]
    lake.put(f"raw/labels/x/deep/{name}", data)
    assert tick(lake, 0) == [f"x/deep/{name}"]
    assert [row["reason"] for row in lake.read("quarantine").to_pylist()] == ["no_photograph"]
    upload(lake, {"x/other.jpg": car(1, width=200, height=100), "y/a.jpg": car(2, width=200, height=100)})
    assert tick(lake, 1) == []
    upload(lake, {"x/a.jpg": car(0, width=200, height=100)})
    assert tick(lake, 2) == [f"x/deep/{name}"]
    assert sorted(classes(lake)) == [0, 1]
    assert tick(lake, 3) == []


@pytest.mark.parametrize("mapped", [{"scratch": 0, "dent": 1}, {"scratch": 0, "dent": 1, "chip": 0}])
def test_a_file_that_the_import_has_no_more_is_not_read_again(lake: Lake, mapped: dict[str, int]) -> None:
    upload(lake, {"x/a.jpg": car(0, width=200, height=100)})
    options = {"import": "x", "format": "voc", "class_ids": {"scratch": 0, "dent": 1}}
    write_import_record(lake, "x", {"origin": "voc", "options": options})
    lake.put("raw/labels/x/a.xml", files.voc())
    assert tick(lake, 0) == ["x/a.xml"]
    options = {"import": "x", "format": "coco", "class_ids": mapped}
    record = {"origin": "coco", "options": options, "gone": ["raw/labels/x/a.xml"]}
    write_import_record(lake, "x", record)
    lake.put("raw/labels/x/a.json", files.coco({"id": 1, "image_id": 1, "category_id": 2, "bbox": [90, 30, 40, 40]}))
    assert tick(lake, 60) == ["x/a.json"]
    assert (classes_now(lake), lake.read("quarantine").num_rows) == ([1], 0)
    write_import_record(lake, "x", {"origin": "coco", "options": options})  # it is there again, and read with the rest
    assert tick(lake, 120) == ["x/a.xml"]
