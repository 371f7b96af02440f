"""data/label_formats/: what each format's reader takes from files that differ in form, and what it refuses."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest

from carsdepo_assets.data.label_formats import NotReadable, classes_used, fit, read_document, recognise
from carsdepo_assets.data.label_formats.documents import ClassTargets, LabelDocument
from carsdepo_assets.data.label_formats.geometry import upright
from carsdepo_assets.data.label_formats.parsed import Parsed
from carsdepo_assets.imaging.decode import upright as upright_pixels
from carsdepo_assets_tests.data import label_documents as files

TARGETS: ClassTargets = {"scratch": 0, "dent": 1}
BOX = (80, 30, 120, 70)
EVERY = sorted(files.VALID)


def read(format: str, data: bytes) -> LabelDocument:
    name = files.VALID[format][0]
    assert recognise(name, data) == format
    return read_document(format, name, data)  # type: ignore[arg-type]


def labels(format: str, data: bytes, targets: ClassTargets = TARGETS) -> Parsed:
    (photograph,) = read(format, data).photographs
    by_id = {"0": 0, "1": 1} if format == "yolo" else {"1": 0, "2": 1}
    return fit(photograph, 200, 100, by_id if format in ("yolo", "coco") else targets)


def boxes(parsed: Parsed) -> list[Any]:
    assert parsed.problems == []
    return [(class_id, tuple(round(v, 3) for v in box)) for class_id, box in parsed.boxes]


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


def rle(size: list[int], counts: Any) -> dict[str, Any]:
    return {"id": 5, "image_id": 1, "category_id": 1, "segmentation": {"size": size, "counts": counts}}


NOTE = {"id": 5, "image_id": 1, "category_id": 1, "bbox": [80, 30, 40, 40]}


@pytest.mark.parametrize(
    ("note", "expected"),
    [
        (NOTE | {"iscrowd": 1, "segmentation": {"size": [100, 200], "counts": [0, 1]}}, BOX),
        (NOTE | {"image_id": 1.0}, BOX),
        (NOTE | {"image_id": "1"}, BOX),
        (NOTE | {"category_id": "1"}, BOX),
        (NOTE | {"category_id": 1.0, "segmentation": None, "area": None, "score": None}, BOX),
        (NOTE | {"bbox": [], "segmentation": [[80, 30, 120, 30, 120, 70]]}, BOX),
        (rle([100, 200], [8030, 40, 60, 40, 11830]), (80, 30, 82, 70)),
        (rle([100, 200], [100, 150, 19750]), (1, 0, 3, 100)),  # on into the next column
    ],
)
def test_coco_that_differs_in_form(note: dict[str, Any], expected: Any) -> None:
    assert boxes(labels("coco", files.coco(note))) == [(0, expected)]


@pytest.mark.parametrize(
    ("note", "reason"),
    [
        (NOTE | {"score": 0.7}, "prediction"),
        (NOTE | {"category_id": True}, "unknown_class"),
        (NOTE | {"category_id": 9}, "unknown_class"),
        (rle([100, 200], [5]), "malformed"),
        (rle([100, 200], "~~~"), "malformed"),
        (rle([0, 0], []), "malformed"),
    ],
)
def test_coco_annotations_that_cannot_be_used(note: dict[str, Any], reason: str) -> None:
    assert [p.reason for p in labels("coco", files.coco(note)).problems] == [reason]


@pytest.mark.parametrize(
    ("categories", "names"),
    [
        ([{"id": 1, "name": "dent"}, {"id": "2", "name": " Scratch"}], {"1": "dent", "2": " Scratch"}),
        ({"1": "dent"}, {"1": "dent"}),
        ({"dent": 1}, {"1": "dent"}),
        ([{"id": 1}], {}),
        ([{"id": 1, "name": None}, None, 3], {}),
        (["dent"], {}),
        ("dent", {}),
        (7, {}),
    ],
)
def test_coco_categories_of_other_forms(categories: Any, names: dict[str, str]) -> None:
    assert read("coco", files.coco(categories=categories)).class_names == names


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"annotations": None}, r"annotations is None, a list is expected.*annotations is \[\]"),
        ({"images": None}, "images is None"),
        ({"categories": [{"id": 1, "name": "a"}, {"id": 1, "name": "b"}]}, "category 1 is both a and b"),
    ],
)
def test_coco_whose_meaning_is_not_certain(change: dict[str, Any], message: str) -> None:
    document = json.loads(files.coco()) | change
    with pytest.raises(NotReadable, match=message):
        read("coco", json.dumps(document).encode())


TWO = [{"id": 1, "file_name": "a.jpg"}, {"id": 2, "file_name": "b.jpg"}]


@pytest.mark.parametrize(
    ("data", "reviewed"),
    [
        (files.coco(NOTE, images=TWO), [True, True]),
        (files.coco(NOTE, {"id": 6, "image_id": 9, "category_id": 1, "bbox": [1, 1, 9, 9]}, images=TWO), [True, False]),
        (files.coco(NOTE, None, images=TWO), [True, False]),
        (files.coco(NOTE | {"score": 0.5}, images=TWO), [True, False]),
        (files.coco(NOTE, images=TWO, info={"contributor": "Label Studio"}), [True, False]),
        (files.coco(NOTE, images=TWO, info={"contributor": "someone"}), [True, True]),
        (files.coco(NOTE, images=TWO, info=None), [True, True]),
    ],
)
def test_a_coco_image_without_annotations_is_clean_only_where_that_is_certain(
    data: bytes, reviewed: list[bool]
) -> None:
    assert [photograph.reviewed for photograph in read("coco", data).photographs] == reviewed


POINTS = "<pt><x>80</x><y>30</y></pt><pt><x>120</x><y>30</y></pt><pt><x>100</x><y>70</y></pt>"


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("<bndbox><ymax>70</ymax><xmax>120</xmax><ymin>30</ymin><xmin>80</xmin></bndbox><name>dent</name>", BOX),
        ("<name>dent</name><bndbox><xmin>80.5</xmin><ymin>30</ymin><xmax>1.2e2</xmax><ymax> 70 </ymax></bndbox>",
         (80.5, 30, 120, 70)),
        (f"<name>dent</name><polygon>{POINTS}</polygon>", BOX),
        ("<name>dent</name><polygon><x1>80</x1><y1>30</y1><x2>120</x2><y2>30</y2><x3>9e1</x3><y3>70</y3></polygon>",
         BOX),
        ("<name> Dent </name><difficult>1</difficult><truncated>1</truncated>"
         "<bndbox><xmin>80</xmin><ymin>30</ymin><xmax>120</xmax><ymax>70</ymax></bndbox>", BOX),
        ("<name>dent</name><part><name>x</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>2</xmax><ymax>2</ymax></bndbox>"
         "</part><bndbox><xmin>80</xmin><ymin>30</ymin><xmax>120</xmax><ymax>70</ymax></bndbox>", BOX),
        ("<type>robndbox</type><name>dent</name><robndbox><cx>100</cx><cy>50</cy><w>40</w><h>40</h>"
         f"<angle>{math.pi / 2}</angle></robndbox>", BOX),
    ],
)  # fmt: skip
def test_voc_that_differs_in_form(content: str, expected: Any) -> None:
    assert boxes(labels("voc", files.voc(content))) == [(1, expected)]


def test_voc_counts_from_one_only_in_the_challenges_own_files() -> None:
    for database, left in (("The VOC2007 Database", 79), ("Unknown", 80), ("roboflow.ai", 80)):
        data = files.voc(files.voc_object("dent", BOX), more=f"<source><database>{database}</database></source>")
        assert boxes(labels("voc", data)) == [(1, (left, left - 50, 120, 70))]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("<name>dent</name>", "malformed"),
        ("<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>9</xmax><ymax>9</ymax></bndbox>", "unknown_class"),
        (files.voc_object("rust", BOX), "unknown_class"),
        (files.voc_object("dent", BOX) + "<score>0.8</score>", "prediction"),
        (files.voc_object("dent", BOX) + "<confidence>1</confidence>", "prediction"),
        ("<name>dent</name><bndbox><xmin>80,5</xmin><ymin>1</ymin><xmax>9</xmax><ymax>9</ymax></bndbox>", "malformed"),
        (files.voc_object("dent", (120, 30, 80, 70)), "no_area"),
    ],
)
def test_voc_objects_that_cannot_be_used(content: str, reason: str) -> None:
    assert [p.reason for p in labels("voc", files.voc(content)).problems] == [reason]


def test_voc_whose_box_is_in_no_object_is_not_clean() -> None:
    data = files.voc().replace(b"object>", b"objekt>")
    assert [p.reason for p in labels("voc", data).problems] == ["malformed"]


def test_voc_without_objects_is_clean_and_a_size_of_zero_is_none() -> None:
    data = b"<annotation><filename>a.jpg</filename><size><width>0</width><height>0</height></size></annotation>"
    parsed = labels("voc", data)
    assert boxes(parsed) == []
    assert parsed.reviewed


@pytest.mark.parametrize("format", ["voc", "cvat"])
def test_xml_may_declare_no_entities(format: str) -> None:
    name, data = files.VALID[format]
    bomb = b'<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;">]>' + data
    with pytest.raises(NotReadable, match="declares entities"):
        read_document(format, name, bomb)  # type: ignore[arg-type]
    with pytest.raises(NotReadable, match="too deeply"):
        read_document(format, name, b"<annotation>" * 200)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ('<polygon label="dent" points="80.00,30.00;120.00,30.00;100.00,70.00"/>', BOX),
        ('<box label="dent" xtl="80" ytl="30" xbr="120" ybr="70" rotation="90.0"/>', BOX),
        ('<box label="dent" xtl="60" ytl="40" xbr="140" ybr="60" rotation="90"/>', (90, 10, 110, 90)),
        ('<box label="dent" xtl="60" ytl="40" xbr="140" ybr="60" rotation="45"/>', (64.645, 14.645, 135.355, 85.355)),
        ('<ellipse label="dent" cx="100" cy="50" rx="20" ry="20"/>', BOX),
        ('<ellipse label="dent" cx="100" cy="50" rx="20" ry="40" rotation="90"/>', (60, 30, 140, 70)),
        ('<mask label="dent" rle="1, 2" left="80" top="30" width="40" height="40"/>', BOX),
        (
            '<box label="dent" xtl="80" ytl="30" xbr="120" ybr="70"><attribute name="x">y</attribute></box><tag/>',
            BOX,
        ),
    ],
)
def test_cvat_shapes(shape: str, expected: Any) -> None:
    assert boxes(labels("cvat", files.cvat(shape))) == [(1, expected)]


@pytest.mark.parametrize(
    ("shape", "reason"),
    [
        ('<polyline label="dent" points="1,2;3,4"/>', "unsupported_shape"),
        ('<points label="dent" points="1,2"/>', "unsupported_shape"),
        ('<skeleton label="dent"/>', "unsupported_shape"),
        ('<bax label="dent" xtl="80" ytl="30" xbr="120" ybr="70"/>', "unsupported_shape"),
        ('<box xtl="80" ytl="30" xbr="120" ybr="70"/>', "unknown_class"),
        ('<box label="dent" xtl="80" ytl="30" xbr="120"/>', "malformed"),
        ('<polygon label="dent" points="1,2;3"/>', "malformed"),
        ('<box label="dent" source="auto" xtl="80" ytl="30" xbr="120" ybr="70"/>', "prediction"),
    ],
)
def test_cvat_shapes_that_cannot_be_used(shape: str, reason: str) -> None:
    assert [p.reason for p in labels("cvat", files.cvat(shape)).problems] == [reason]


@pytest.mark.parametrize(
    ("meta", "reviewed"),
    [("", True), ("<status>completed</status>", True), ("<status>annotation</status>", False),
     ("<segments><segment><state>in progress</state></segment></segments>", False)],
)  # fmt: skip
def test_an_unfinished_task_of_cvat_is_not_clean(meta: str, reviewed: bool) -> None:
    (photograph,) = read("cvat", files.cvat(" ", meta=meta)).photographs
    assert (photograph.shapes, photograph.reviewed) == ([], reviewed)
    (labelled,) = read("cvat", files.cvat(meta=meta)).photographs
    assert fit(labelled, 200, 100, TARGETS).reviewed  # with boxes it is labelled


def track(number: int, *shapes: str) -> str:
    return f'<track id="{number}" label="dent" source="manual">{"".join(shapes)}</track>'


def at(frame: int, left: float, outside: int = 0) -> str:
    box = f'xtl="{left}" ytl="30" xbr="{left + 40}" ybr="70"'
    return f'<box frame="{frame}" outside="{outside}" keyframe="1" occluded="0" {box}/>'


def test_cvat_tracks_go_on_until_they_are_outside() -> None:
    size = "<meta><task><original_size><width>200</width><height>100</height></original_size></task></meta>"
    tracks = track(0, at(0, 10), at(4, 50), at(8, 50, outside=1)) + track(1, at(2, 100), at(12, 100, outside=1))
    document = read("cvat", f"<annotations>{size}{tracks}</annotations>".encode())
    lefts = {p.file_name: [s.box[0] for s in p.shapes] for p in document.photographs}
    assert lefts == {
        "frame_000000": [10],
        "frame_000002": [30, 100],  # half way between two frames of the first track
        "frame_000004": [50, 100],
        "frame_000008": [100],
        "frame_000012": [],
    }
    assert {(p.width, p.height) for p in document.photographs} == {(200, 100)}


def shape(kind: str | None, *points: Any, label: Any = "dent", **more: Any) -> dict[str, Any]:
    return {"label": label, "points": list(points), **({"shape_type": kind} if kind else {}), **more}


@pytest.mark.parametrize(
    ("one", "expected"),
    [
        (shape("rectangle", [120, 70], [80, 30]), BOX),
        (shape("rectangle", [80, 70], [120, 30]), BOX),
        (shape("rectangle", [80, 30], [120, 30], [120, 70], [80, 70]), BOX),
        (shape("polygon", [80, 30], [120, 30], [100, 70]), BOX),
        (shape(None, [80, 30], [120, 30], [100, 70]), BOX),
        (shape("circle", [100, 50], [100, 70]), BOX),
        (shape("mask", [80, 30], [120, 70], mask="iVBORw0KGgo="), BOX),
        (shape("rectangle", [80, 30], [120, 70], label=" DENT ", score=None, group_id=None), BOX),
    ],
)
def test_labelme_shapes(one: dict[str, Any], expected: Any) -> None:
    assert boxes(labels("labelme", files.labelme(one))) == [(1, expected)]


@pytest.mark.parametrize(
    ("one", "reason"),
    [
        (shape("linestrip", [1, 2], [3, 4]), "unsupported_shape"),
        (shape("line", [1, 2], [3, 4]), "unsupported_shape"),
        (shape("point", [1, 2]), "unsupported_shape"),
        (shape("rectangle", [1, 2]), "malformed"),
        (shape("rectangle", [1, 2], [3, "4"]), "malformed"),
        (shape("polygon", [1, 2], [3, 4]), "malformed"),
        (shape("rectangle", [1, 2], [30, 40], label=None), "unknown_class"),
        (shape("rectangle", [1, 2], [30, 40], score=0.9), "prediction"),
        (shape(7, [1, 2], [30, 40]), "unsupported_shape"),  # type: ignore[arg-type]
        (None, "malformed"),
    ],
)
def test_labelme_shapes_that_cannot_be_used(one: Any, reason: str) -> None:
    assert [p.reason for p in labels("labelme", files.labelme(one)).problems] == [reason]


@pytest.mark.parametrize(
    ("one", "expected"),
    [
        (files.region("dent", 60, 70, -20, -40), BOX),
        (files.region("dent", 60, 30, 20, 40, rotation=90), (80, 30, 120, 70)),  # 40 x 40 px, about its corner
        (files.region("dent", 40, 20, 20, 20, rotation=90), (60, 20, 80, 60)),  # 40 x 20 px become 20 x 40
        (files.region("dent", 50, 50, 0, 0, rectanglelabels=[]) | {
            "value": {"x": 50, "y": 50, "radiusX": 10, "radiusY": 20, "ellipselabels": ["dent"]}}, BOX),
        ({"type": "polygonlabels", "value": {
            "points": [[40, 30], [60, 30], [50, 70]], "polygonlabels": ["dent"]}}, BOX),
    ],
)  # fmt: skip
def test_label_studio_regions(one: dict[str, Any], expected: Any) -> None:
    data = files.labelstudio(files.task(files.annotation(one)))
    assert boxes(labels("labelstudio", data)) == [(1, expected)]


@pytest.mark.parametrize(
    ("one", "reason"),
    [
        ({"type": "brushlabels", "value": {"format": "rle", "rle": [1], "brushlabels": ["dent"]}}, "unsupported_shape"),
        ({"type": "keypointlabels", "value": {"x": 1, "y": 1, "width": 1, "keypointlabels": ["dent"]}}, "malformed"),
        (files.region("dent", 1, 1, 9, 9, rectanglelabels=[]), "unknown_class"),
        (files.region("dent", "1", 1, 9, 9), "malformed"),  # type: ignore[arg-type]
        ({"type": "rectanglelabels", "value": None}, "malformed"),
        (None, "malformed"),
        (files.region("dent", 1, 1, 9, 9) | {"item_index": 2}, "malformed"),
        (files.region("dent", 40, 30, 20, 40) | {"original_width": 400}, "size_differs"),
    ],
)
def test_label_studio_regions_that_cannot_be_used(one: Any, reason: str) -> None:
    parsed = labels("labelstudio", files.labelstudio(files.task(files.annotation(one))))
    assert [p.reason for p in parsed.problems] == [reason]


def test_label_studio_shape_and_label_may_be_two_entries() -> None:
    value = {"x": 40, "y": 30, "width": 20, "height": 40, "rotation": 0}
    entries = [
        {"id": "r1", "type": "rectangle", "value": value},
        {"id": "r1", "type": "labels", "value": value | {"labels": ["dent"]}},
        {"type": "choices", "value": {"choices": ["front"]}},
    ]
    assert boxes(labels("labelstudio", files.labelstudio(files.task(files.annotation(*entries))))) == [(1, BOX)]


@pytest.mark.parametrize(
    ("task", "reviewed"),
    [
        (files.task(), False),
        (files.task(predictions=[{"result": files.REGIONS, "score": 0.9}]), False),
        (files.task(files.annotation(*files.REGIONS, was_cancelled=True)), False),
        (files.task(files.annotation()), True),
        (files.task(files.annotation(), predictions=[{"result": files.REGIONS}]), True),
        (files.task(annotations=None, drafts=[{"result": files.REGIONS}]), False),
    ],
)
def test_an_unfinished_task_of_label_studio_is_not_clean(task: dict[str, Any], reviewed: bool) -> None:
    (photograph,) = read("labelstudio", files.labelstudio(task)).photographs
    assert (photograph.shapes, photograph.problems, photograph.reviewed) == ([], [], reviewed)


def test_label_studio_keeps_each_annotator() -> None:
    first, second = files.annotation(files.REGIONS[0], by=3), files.annotation(*files.REGIONS, by={"email": "b@x.org"})  # type: ignore[arg-type]
    document = read("labelstudio", files.labelstudio(files.task(first, second)))
    assert [(p.annotator, len(p.shapes)) for p in document.photographs] == [("3", 1), ("b@x.org", 2)]


def test_label_studios_json_min() -> None:
    regions = [r["value"] | {"original_width": 200, "original_height": 100} for r in files.REGIONS]
    row = {"id": 1, "image": "a.jpg", "annotator": 2, "annotation_id": 5, "created_at": "2026-01-01", "lead_time": 3}
    data = json.dumps(
        [row | {"label": regions}, row | {"image": "b.jpg"}, row | {"image": "c.jpg", "annotation_id": None}]
    )
    document = read("labelstudio", data.encode())
    assert [(p.file_name, len(p.shapes), p.reviewed) for p in document.photographs] == [
        ("a.jpg", 2, True),
        ("b.jpg", 0, True),
        ("c.jpg", 0, False),
    ]
    assert boxes(fit(document.photographs[0], 200, 100, TARGETS)) == [(0, BOX), (1, files.BOXES["dent"])]


def test_ground_truth_class_maps_of_one_line_are_sparse() -> None:
    line = files.manifest_line((5, 20, 10, 40, 40))
    bare = files.manifest_line((0, 80, 30, 40, 40))
    bare["damage-metadata"]["class-map"] = {}
    document = read("groundtruth", files.groundtruth(bare, line, files.manifest_line((0, 1, 1, 9, 9))))
    assert [[s.source_class for s in p.shapes] for p in document.photographs] == [["scratch"], ["dent"], ["scratch"]]
    (alone,) = read("groundtruth", files.groundtruth(bare)).photographs
    assert [(p.reason, p.line) for p in alone.problems] == [("unknown_class", 1)]


def other_job(line: dict[str, Any], attribute: str, *boxes: Any, **metadata: Any) -> dict[str, Any]:
    another = files.manifest_line(*boxes)
    return line | {
        attribute: another["damage"],
        f"{attribute}-metadata": another["damage-metadata"] | metadata,
    }


SCRATCH, DENT = (0, 80, 30, 40, 40), (5, 20, 10, 40, 40)


@pytest.mark.parametrize(
    ("line", "classes", "reasons", "reviewed"),
    [
        (files.manifest_line(), [], [], True),
        ({"source-ref": "s3://b/a.jpg"}, [], [], False),
        ({"source-ref": "s3://b/a.jpg", "damage-metadata": {"failure-reason": "ClientError"}}, [], [], False),
        ({"source-ref": "s3://b/a.jpg", "kind": 1, "kind-metadata": {"type": "groundtruth/image-classification"}},
         [], [], False),
        (other_job(files.manifest_line(SCRATCH), "again", SCRATCH), ["scratch"], [], True),
        (other_job(files.manifest_line(SCRATCH), "dents", DENT), ["scratch", "dent"], [], True),
        (other_job(files.manifest_line(SCRATCH), "again", (0, 1, 1, 9, 9)), None, ["contradiction"], True),
        (other_job(files.manifest_line(SCRATCH), "fixed", DENT, **{"adjustment-status": "adjusted"}),
         ["dent"], [], True),
        (other_job(files.manifest_line(SCRATCH), "damage", SCRATCH, **{"human-annotated": "no"}),
         [], ["prediction"], True),
    ],
)  # fmt: skip
def test_ground_truth_lines(line: Any, classes: list[str] | None, reasons: list[str], reviewed: bool) -> None:
    (photograph,) = read("groundtruth", files.groundtruth(line)).photographs
    assert [p.reason for p in photograph.problems] == reasons
    assert photograph.reviewed == reviewed
    if classes is not None:
        assert [s.source_class for s in photograph.shapes] == classes


def test_a_broken_line_of_a_manifest_costs_no_other() -> None:
    data = files.groundtruth() + b'\n{"source-ref": "s3://b/b.jpg", "dam\n\n{"no": 1}\n3\n'
    document = read("groundtruth", data)
    assert len(document.photographs) == 1
    assert [(p.reason, p.line) for p in document.problems] == [
        ("malformed", 2), ("no_photograph", 4), ("no_photograph", 5)
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("one", "expected"),
    [
        ({"type": "bbox", "label_id": 1, "bbox": [80, 30, 40, 40]}, BOX),
        ({"type": "bbox", "label_id": 1, "bbox": [60, 40, 80, 20], "attributes": {"rotation": 90}}, (90, 10, 110, 90)),
        ({"type": "polygon", "label_id": 1, "points": [80, 30, 120, 30, 100, 70], "attributes": None}, BOX),
        ({"type": "ellipse", "label_id": 1, "points": [80, 30, 120, 70]}, BOX),
        ({"type": "rotated_bbox", "label_id": 1, "points": [100, 50, 40, 40, 180]}, BOX),
        ({"type": "mask", "label_id": 1, "rle": {"size": [100, 200], "counts": [8030, 40, 11930]}}, (80, 30, 81, 70)),
    ],
)
def test_datumaro_annotations(one: dict[str, Any], expected: Any) -> None:
    assert boxes(labels("datumaro", files.datumaro(one))) == [(1, expected)]


@pytest.mark.parametrize(
    ("one", "reason"),
    [
        ({"type": "bbox", "label_id": None, "bbox": [1, 1, 9, 9]}, "unknown_class"),
        ({"type": "bbox", "label_id": -1, "bbox": [1, 1, 9, 9]}, "unknown_class"),
        ({"type": "bbox", "label_id": 2, "bbox": [1, 1, 9, 9]}, "unknown_class"),
        ({"type": "bbox", "label_id": 1, "bbox": [1, 1, 9]}, "malformed"),
        ({"type": "bbox", "label_id": 1, "bbox": [1, 1, 9, 9], "attributes": {"score": 0.5}}, "prediction"),
        ({"type": "polyline", "label_id": 1, "points": [1, 1, 9, 9]}, "unsupported_shape"),
        ({"type": "points", "label_id": 1, "points": [1, 1]}, "unsupported_shape"),
        ({"type": "mask", "label_id": 1}, "malformed"),
        (3, "malformed"),
    ],
)
def test_datumaro_annotations_that_cannot_be_used(one: Any, reason: str) -> None:
    assert [p.reason for p in labels("datumaro", files.datumaro(one)).problems] == [reason]


def test_a_datumaro_item_beside_predictions_is_not_clean() -> None:
    document = json.loads(files.datumaro({"type": "bbox", "label_id": 1, "bbox": [1, 1, 9, 9]}))
    document["items"].append({"id": "b", "annotations": []})
    for attributes, reviewed in (({}, True), ({"score": 0.5}, False)):
        document["items"][0]["annotations"][0]["attributes"] = attributes
        assert read("datumaro", json.dumps(document).encode()).photographs[1].reviewed == reviewed


def test_datumaro_labels_of_the_whole_photograph_are_no_boxes() -> None:
    parsed = labels("datumaro", files.datumaro({"type": "label", "label_id": 1}))
    assert (parsed.boxes, parsed.problems, parsed.reviewed) == ([], [], True)


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
