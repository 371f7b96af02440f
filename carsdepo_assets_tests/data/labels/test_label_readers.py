"""data/labels/formats/: what each format's reader takes from files that differ in form, and what it refuses."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from carsdepo_assets.data.labels.formats import NotReadable, classes_used, fit, read_document, recognise
from carsdepo_assets.data.labels.formats.geometry import upright
from carsdepo_assets.imaging.decode import upright as upright_pixels
from carsdepo_assets_tests.data import label_documents as files
from carsdepo_assets_tests.data.label_results import BOX, NOTE, boxes, labels, read, shape

EVERY = sorted(files.VALID)


@pytest.mark.parametrize("format", EVERY)
def test_every_format_gives_the_same_boxes(format: str) -> None:
    parsed = labels(format, files.VALID[format][1])
    assert boxes(parsed) == [(0, files.BOXES["scratch"]), (1, files.BOXES["dent"])]
    assert parsed.notes == []
    document = read(format, files.VALID[format][1])
    assert sum(classes_used(document).values()) == 2
    if format not in ("yolo", "coco"):
        assert set(classes_used(document)) == {"scratch", "dent"} <= set(document.class_names)


@pytest.mark.parametrize("format", EVERY)
@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_every_format_is_read_in_other_encodings(format: str, encoding: str) -> None:
    data = files.VALID[format][1].decode().encode(encoding)
    assert len(boxes(labels(format, data))) == 2


@pytest.mark.parametrize("format", EVERY)
def test_the_suffix_in_capitals_makes_no_difference(format: str) -> None:
    name, data = files.VALID[format]
    assert recognise(name.upper(), data) == format


@pytest.mark.parametrize("format", [f for f in EVERY if f != "yolo"])
@pytest.mark.parametrize("share", [0.6, 0.95])
def test_a_file_that_was_cut_off_is_still_recognised_and_called_truncated(format: str, share: float) -> None:
    name, data = files.VALID[format]
    data = data[: int(share * len(data))]
    assert recognise(name, data) == format
    if format == "groundtruth":
        assert [p.reason for p in read_document("groundtruth", name, data).problems] == ["malformed"]
        return
    with pytest.raises(NotReadable) as error:
        read_document(format, name, data)  # type: ignore[arg-type]
    assert error.value.problem.reason == "truncated"


@pytest.mark.parametrize(
    ("name", "data", "expected"),
    [
        ("a.txt", b"", "yolo"),
        ("a.TXT", b"\n", "yolo"),
        ("a.txt", b"scratch .5 .5 .1 .1", "yolo"),
        ("a.txt", b"0,5 0,5 0,1 0,1 0,1", "yolo"),
        ("a.txt", b"\0\0\0\0", "yolo"),
        ("readme.txt", b"These photographs are of cars.\nAll rights reserved.\n", None),
        ("train.txt", b"data/obj_train_data/a.jpg\ndata/obj_train_data/b.jpg\n", None),
        ("a.txt", b"0 .5 .5 .1 .1 .93\n1 .2 .2 .1 .1 .40\n", "predictions"),
        ("a.txt", b"0 .5 .5 .1 .1 .93 7\n", "predictions"),
        ("mot.txt", b"1,3,794.27,247.59,71.245,174.88,0.9,-1,-1,-1\n", "predictions"),
        ("r.json", b'[{"image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4], "score": 0.5}]', "predictions"),
        ("a.json", b'{"group": "car-17", "region": "east"}', None),
        ("a.json", b"[]", None),
        ("a.json", b'[1, 2, {"a": []}]', None),
        ("a.json", b'{"images": [], "categories": []}', "coco"),
        ("a.json", b'{"images": null, "annotations": null}', "coco"),
        ("a.xml", b"<settings/>", None),
        ("a.xml", b"<annotation/>", None),
        ("a.xml", b"no XML", None),
        ("a.jsonl", b'{"source-ref": "s3://b/a.jpg"}\n', "groundtruth"),
        ("a.manifest", b'broken\n{"source-ref": "s3://b/a.jpg"}\n', "groundtruth"),
        ("a.manifest", b"<html>", None),
        ("a.csv", b"file,group\n", None),
    ],
)
def test_what_a_file_is_recognised_as(name: str, data: bytes, expected: str | None) -> None:
    assert recognise(name, data) == expected


@pytest.mark.parametrize(
    ("text", "expected", "notes"),
    [
        ("0 .4 .3 .6 .3 .6 .7 .4 .7", BOX, ["line 1: oriented box, its bounding box taken"]),
        ("0 .5 .3 .6 .5 .5 .7 .4 .5", BOX, ["line 1: oriented box, its bounding box taken"]),
        ("0 .4 .3 .6 .3 .6 .7 .5 .6 .4 .7", BOX, ["line 1: polygon, its bounding box taken"]),
        ("0 .5 .5 .2 .4 .5 .5 2", BOX, ["line 1: keypoints left out"]),
        ("0 .5 .5 .2 .4 .45 .5 2 .55 .5 1 0 0 0", BOX, ["line 1: keypoints left out"]),
        ("0 .5 .5 .2 .4 .45 .5 1 .55 .5 1", BOX, ["line 1: keypoints left out"]),  # even: 4 + 2 x 3
        ("0 .5 .5 .2 .4 .45 .5 2 .55 .5 2", BOX, ["line 1: keypoints left out"]),
        ("0 .1 .2 .5 .2 .3 .9", (20, 20, 100, 90), ["line 1: polygon, its bounding box taken"]),
        ("0 .4 .3 .6 .3 .6 1 .4 1", (80, 30, 120, 100), ["line 1: oriented box, its bounding box taken"]),
        ("0 0.51 .5 1 1", (2, 0, 200, 100), ["line 1: clipped to the image"]),  # 2 px over the edge
        ("0 .96 .5 .18 .4", (174, 30, 200, 70), ["line 1: clipped to the image"]),  # 5 % over the edge
        ("0 0.5 0.5 0.005 0.4", (99.5, 30, 100.5, 70), []),  # one pixel wide
    ],
)
def test_yolo_lines_of_more_than_a_box(text: str, expected: Any, notes: list[str]) -> None:
    parsed = labels("yolo", text.encode())
    assert boxes(parsed) == [(0, expected)]
    assert parsed.notes == notes


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("0 .5 .5 .2 .4 .93", "prediction"),
        ("0 .5 .5 .2 .4 3", "prediction"),  # an object's number without a score
        ("0 .5 .5 .2 .4 .93 17", "prediction"),
        ("0 .5 .5 .2 .4 .93 1", "prediction"),  # a triangle that ends at the lower edge, or the first object
        ("0 .5 .5 .2 .4 .93 0", "prediction"),
        ("0 .4 .3 .6 .3 .6 .7 .4 .7 .93 12", "prediction"),  # an oriented box with score and number
        ("0 .4 .3 .6 .3 .6 .7 .4 .7 .93 1", "ambiguous_line"),
        ("0 .4 .3 .6 .3 .6 .7 .4 .7 .93", "malformed"),  # an oriented box with a score
        ("0 .5 .5 .2 .4 .5 .5", "ambiguous_line"),  # a triangle, or a box with one keypoint
        ("0 .5 .5 .2 .4 .45 .6 .55 .4 .55 .6 .45 .4", "ambiguous_line"),  # its sides cross, all lie in the box
        ("0 .5 .5 .2 .4 .45 .5 3", "malformed"),
        ("0 .5 .5 .004 .4", "too_small"),
        ("0 .5 .5 .0005 .001", "too_small"),
        ("0 .96 .5 .2 .4", "outside_image"),  # 6 % over the edge
        ("0 0,5 0,5 0,2 0,4", "decimal_comma"),
        ("0;0.5;0.5;0.2;0.4", "malformed"),
    ],
)
def test_yolo_lines_that_are_no_certain_box(text: str, reason: str) -> None:
    (photograph,) = read_document("yolo", "a.txt", text.encode()).photographs
    parsed = fit(photograph, 200, 100, {"0": 0})
    assert [(p.reason, p.line) for p in parsed.problems] == [(reason, 1)]


def test_a_triangle_among_other_polygons_is_one() -> None:
    parsed = labels(
        "yolo", b"0 .5 .5 .2 .4 .5 .5\n1 .4 .3 .6 .3 .6 .7 .5 .6 .4 .7\n1 .1 .1 .2 .1 .2 .2 .15 .3 .1 .2 .1 .15\n"
    )
    assert boxes(parsed)[0][1] == (40, 40, 100, 50)


@pytest.mark.parametrize(
    ("size", "orientation", "box", "expected", "reason"),
    [
        # The photograph is 200 x 100 upright; as it is stored, 100 x 200.
        ((100, 200), 6, [30, 80, 40, 40], (80, 30, 120, 70), None),
        ((100, 200), 8, [30, 80, 40, 40], (80, 30, 120, 70), None),
        ((100, 200), 6, [10, 20, 40, 40], (140, 10, 180, 50), None),
        ((100, 200), 8, [10, 20, 40, 40], (20, 50, 60, 90), None),
        ((100, 200), 5, [10, 20, 40, 40], (20, 10, 60, 50), None),
        ((100, 200), 7, [10, 20, 40, 40], (140, 50, 180, 90), None),
        ((100, 200), 6, [150, 20, 40, 40], (150, 20, 190, 60), None),  # outside the stored frame: it is upright
        ((100, 200), 1, [10, 20, 40, 40], None, "size_differs"),
        ((100, 200), None, [10, 20, 40, 40], None, "size_differs"),
        ((100, 201), 6, [10, 20, 40, 40], None, "size_differs"),
        ((200, 100), 6, [10, 20, 40, 40], (10, 20, 50, 60), None),
    ],
)
def test_boxes_of_the_photograph_before_exifs_rotation(
    size: tuple[int, int], orientation: int | None, box: list[int], expected: Any, reason: str | None
) -> None:
    image = {"id": 1, "file_name": "a.jpg", "width": size[0], "height": size[1]}
    (photograph,) = read("coco", files.coco(NOTE | {"bbox": box}, images=[image])).photographs
    parsed = fit(photograph, 200, 100, {"1": 0}, orientation)
    if reason is None:
        assert boxes(parsed) == [(0, expected)]
    assert [p.reason for p in parsed.problems] == ([] if reason is None else [reason])


@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
def test_boxes_turn_as_the_pixels_do(orientation: int) -> None:
    stored = np.zeros((200, 100, 3), np.uint8)
    stored[20:80, 10:30] = 255
    rows, columns = np.nonzero(upright_pixels(stored, orientation)[..., 0])
    seen = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
    assert upright((10, 20, 30, 80), 200, 100, orientation) == seen


def test_classes_become_ours_or_a_cause_or_are_left_out() -> None:
    names = ("scratch", "glare", "glass", "rust")
    shapes = [shape("rectangle", [10 * i, 10], [10 * i + 9, 40], label=name) for i, name in enumerate(names)]
    (photograph,) = read("labelme", files.labelme(*shapes)).photographs
    parsed = fit(photograph, 200, 100, {"scratch": 0, "Glare": "reflection", "glass": None})
    assert parsed.boxes == [(0, (0, 10, 9, 40))]
    assert parsed.negatives == [("reflection", (10, 10, 19, 40))]
    assert parsed.notes == ["shape 3: class glass is left out"]
    assert [p.reason for p in parsed.problems] == ["unknown_class"]
    assert "rust" in parsed.problems[0].detail
    assert "--map OLD=NEW" in parsed.problems[0].detail


def test_predictions_are_refused_by_name() -> None:
    with pytest.raises(NotReadable, match="not labels") as error:
        read_document("predictions", "a.txt", b"")
    assert error.value.problem.reason == "prediction"
