"""data/labels/formats/: label files as people write them; what is read, what is corrected, what is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest

from carsdepo_assets.data.labels.formats import NotReadable, coco, fit, yolo
from carsdepo_assets.data.labels.formats.documents import ClassTargets
from carsdepo_assets.data.labels.formats.parsed import Parsed

CLASSES: ClassTargets = {"0": 0, "1": 1}


def yolo_labels(data: bytes | str, width: int, height: int, targets: ClassTargets = CLASSES) -> Parsed:
    (labelled,) = yolo.read("a.txt", data.encode() if isinstance(data, str) else data).photographs
    return fit(labelled, width, height, targets)


@pytest.mark.parametrize(
    ("text", "boxes"),
    [
        ("", []),
        ("\n  \n", []),
        ("0 0.5 0.5 0.2 0.4", [(0, (80, 30, 120, 70))]),
        ("\ufeff1 0.5 0.5 1 1\r\n", [(1, (0, 0, 200, 100))]),
        ("1.0 .5 .5 .5 .5\r0 .5 .5 .1 .1", [(1, (50, 25, 150, 75)), (0, (90, 45, 110, 55))]),
        ("0 5e-1 0.5 0.2 0.4", [(0, (80, 30, 120, 70))]),
        ("0 0.1 0.5 0.21 0.4", [(0, (0, 30, 41, 70))]),  # 0.5 % outside: rounding, clipped
        ("0 0.1 0.2 0.5 0.2 0.3 0.9", [(0, (20, 20, 100, 90))]),  # a triangle
        ("0 0.5 0.5 0.2 0.4\n0 0.50 0.5 0.2 0.4", [(0, (80, 30, 120, 70))]),
        ("0 0.5 0.5 0.2 0.4\n1 0.5 0.5 0.2 0.4", [(0, (80, 30, 120, 70)), (1, (80, 30, 120, 70))]),
    ],
)
def test_yolo_boxes(text: str, boxes: list[Any]) -> None:
    parsed = yolo_labels(text, 200, 100)
    assert parsed.problems == []
    assert [c for c, _ in parsed.boxes] == [c for c, _ in boxes]
    assert [b for _, b in parsed.boxes] == [pytest.approx(b, abs=1e-3) for _, b in boxes]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("0 nan 0.5 0.2 0.2", "not_a_number"),
        ("0 0.5 inf 0.2 0.2", "not_a_number"),
        ("0 0.5 0.5 1e400 0.2", "not_a_number"),
        ("0 1e308 0.5 1e308 0.2", "not_a_number"),
        ("nan 0.5 0.5 0.2 0.2", "not_a_number"),
        ("7 0.5 0.5 0.2 0.2", "unknown_class"),
        ("-1 0.5 0.5 0.2 0.2", "unknown_class"),
        ("0.5 0.5 0.5 0.2 0.2", "unknown_class"),
        ("99999999999999 0.5 0.5 0.2 0.2", "unknown_class"),
        ("0 1.5 0.5 0.2 0.2", "outside_image"),
        ("0 0.5 0.5 1.2 0.2", "outside_image"),
        ("0 -0.3 0.5 0.2 0.2", "outside_image"),
        ("0 1.004 0.5 0.008 0.2", "outside_image"),
        ("0 80 30 40 40", "outside_image"),
        ("0 0.5 0.5 0 0.2", "no_area"),
        ("0 0.5 0.5 0.2 -0.2", "no_area"),
        ("0 0.5 0.5 1e-9 0.2", "too_small"),
        ("0 0.1 0.2 0.1 0.5 0.1 0.9", "no_area"),
        ("0 0.5 0.5 0.2", "malformed"),
        ("0", "malformed"),
        ("0 0.5 0.5 0.2 0.2 0.93", "prediction"),
        ("0 0.1 0.1 0.2 0.2 0.3 0.3 0.4", "malformed"),
        ("scratch 0.5 0.5 0.2 0.2", "malformed"),
        ("0,0.5,0.5,0.2,0.2", "malformed"),
    ],
)
def test_yolo_refuses_and_names_the_line(line: str, reason: str) -> None:
    parsed = yolo_labels(f"0 0.5 0.5 0.1 0.1\n\n{line}\n", 200, 100)
    assert [(p.reason, p.line) for p in parsed.problems] == [(reason, 3)]
    assert len(parsed.problems[0].detail) < 250


def test_yolo_names_every_bad_line_and_what_is_not_text() -> None:
    parsed = yolo_labels(b"7 .5 .5 .1 .1\n0 .5 .5 .1 .1\n0 .5 .5", 10, 10)
    assert [(p.reason, p.line) for p in parsed.problems] == [("unknown_class", 1), ("malformed", 3)]
    for data in (b"\xff\xd8\xff\xe0\0\x10JFIF", b"0 .5 .5 .1 .1\n\0\0\0\0", b"\0" * 8):
        with pytest.raises(NotReadable) as error:
            yolo.read("a.txt", data)
        assert error.value.problem.reason == "not_text"


def test_yolo_notes_what_it_mended() -> None:
    parsed = yolo_labels(b"0 .5 .5 .1 .1\n0 .5 .5 .1 .1\n0 .1 .5 .21 .4\n1 .1 .1 .2 .1 .2 .2", 200, 100)
    assert parsed.notes == [
        "line 2: the same box again, kept once",
        "line 3: clipped to the image",
        "line 4: polygon, its bounding box taken",
    ]


def test_a_full_size_box_needs_no_note() -> None:
    assert yolo_labels(b"0 0.5 0.5 1 1", 200, 100).notes == []


def test_source_ids_become_ours() -> None:
    assert yolo_labels(b"4 .5 .5 .2 .2", 10, 10, {"4": 1}).boxes[0][0] == 1
    assert yolo_labels(b"1 .5 .5 .2 .2", 10, 10, {"4": 1}).problems[0].reason == "unknown_class"


def document(*annotations: Any, **image: Any) -> bytes:
    return json.dumps(
        {
            "images": [{"id": 3, "file_name": "a.jpg", **image}],
            "annotations": list(annotations),
            "categories": [{"id": 1, "name": "dent"}],
        }
    ).encode()


def only(data: bytes) -> Any:
    result = coco.read("a.json", data)
    (labelled,) = result.photographs
    assert result.problems == []
    assert result.class_names == {"1": "dent"}
    return fit(labelled, 200, 100, {"1": 1})


def mark(**more: Any) -> dict[str, Any]:
    return {"id": 9, "image_id": 3, "category_id": 1, "bbox": [80, 30, 40, 40], **more}


@pytest.mark.parametrize(
    ("data", "boxes"),
    [
        (document(), []),
        (document(mark()), [(1, (80, 30, 120, 70))]),
        (document(mark(), mark(id=10), width=200, height=100), [(1, (80, 30, 120, 70))]),
        (document(mark(bbox=[-1, 0, 11, 10.5])), [(1, (0, 0, 10, 10.5))]),
        (
            document(mark(bbox=None, segmentation=[[10, 20, 50, 20, 30, 60], [70, 20, 80, 20, 75, 30]])),
            [(1, (10, 20, 80, 60))],
        ),
        (document(mark(iscrowd=0)), [(1, (80, 30, 120, 70))]),
    ],
)
def test_coco_boxes(data: bytes, boxes: list[Any]) -> None:
    parsed = only(data)
    assert parsed.problems == []
    assert parsed.boxes == boxes


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"bbox": [1, 2, 3]}, "malformed"),
        ({"bbox": "1 2 3 4"}, "malformed"),
        ({"bbox": [1, 2, "3", 4]}, "malformed"),
        ({"bbox": [1, 2, True, 4]}, "malformed"),
        ({"bbox": None}, "malformed"),
        ({"bbox": None, "segmentation": {"counts": "abc", "size": [1, 1]}}, "malformed"),
        ({"bbox": None, "segmentation": [[1, 2, 3]]}, "malformed"),
        ({"bbox": [float("nan"), 2, 3, 4]}, "not_a_number"),
        ({"bbox": [10**400, 2, 3, 4]}, "not_a_number"),
        ({"bbox": [10, 10, 0, 5]}, "no_area"),
        ({"bbox": [10, 10, -5, 5]}, "no_area"),
        ({"bbox": [190, 10, 50, 5]}, "outside_image"),
        ({"bbox": [300, 10, 5, 5]}, "outside_image"),
        ({"category_id": 7}, "unknown_class"),
        ({"category_id": None}, "unknown_class"),
        ({"category_id": [1]}, "unknown_class"),
    ],
)
def test_coco_refuses(more: dict[str, Any], reason: str) -> None:
    assert [p.reason for p in only(document(mark(**more))).problems] == [reason]


@pytest.mark.parametrize("size", [{"width": 100, "height": 200}, {"width": 400, "height": 200}, {"width": "wide"}])
def test_coco_of_another_frame_is_not_guessed(size: dict[str, Any]) -> None:
    assert [p.reason for p in only(document(mark(), **size)).problems] == ["size_differs"]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"[]",
        b"null",
        b'{"images": []}',
        b'{"images": {}, "annotations": []}',
        b"[" * 100_000,
        b'{"images": [3], "annotations": []}',
        b'{"images": [{"id": 1}], "annotations": []}',
        b'{"images": [{"id": [1], "file_name": "a.jpg"}], "annotations": []}',
        b'{"images": [{"id": 1, "file_name": ""}], "annotations": []}',
        b'{"images": [{"id": 1, "file_name": "../.."}], "annotations": []}',
        b'{"images": [{"id": 1, "file_name": "a"}, {"id": 1, "file_name": "b"}], "annotations": []}',
    ],
)
def test_what_is_no_coco(data: bytes) -> None:
    with pytest.raises(NotReadable):
        coco.read("a.json", data)


@pytest.mark.parametrize("note", [{"image_id": 4}, {"image_id": [3]}, {}, 3, None])
def test_an_annotation_of_no_image_does_not_cost_the_others(note: Any) -> None:
    result = coco.read("a.json", document(mark(), note))
    assert [p.reason for p in result.problems] == ["no_photograph"]
    assert len(result.photographs[0].shapes) == 1


def test_categories_may_be_missing() -> None:
    data = json.dumps({"images": [{"id": 1, "file_name": "a"}], "annotations": [], "categories": None}).encode()
    assert coco.read("a.json", data).class_names == {}
