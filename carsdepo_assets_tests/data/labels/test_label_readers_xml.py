"""data/labels/formats/: Pascal VOC and CVAT, in forms that differ, and what is refused."""

from __future__ import annotations

import math
from typing import Any

import pytest

from carsdepo_assets.data.labels.formats import NotReadable, fit, read_document
from carsdepo_assets_tests.data import label_documents as files
from carsdepo_assets_tests.data.label_results import BOX, TARGETS, boxes, labels, read

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
