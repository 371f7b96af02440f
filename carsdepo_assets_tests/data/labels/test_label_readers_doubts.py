"""data/labels/formats/: scores of a model, and what looks like a photograph without damage and is none."""

from __future__ import annotations

import json
from typing import Any

import pytest

from carsdepo_assets.data.labels.formats import NotReadable, read_document, recognise
from carsdepo_assets_tests.data import label_documents as files
from carsdepo_assets_tests.data.label_results import BOX, NOTE, boxes, labels, read, shape

BBOX = {"type": "bbox", "label_id": 1, "bbox": [80, 30, 40, 40]}
RECTANGLE = shape("rectangle", [80, 30], [120, 70])
REGION = files.region("dent", 40, 30, 20, 40)


def cvat_box(more: str = "", inside: str = "") -> bytes:
    return files.cvat(f'<box label="dent" xtl="80" ytl="30" xbr="120" ybr="70" {more}>{inside}</box>')


def voc_box(more: str) -> bytes:
    return files.voc(files.voc_object("dent", BOX) + more)


def labelstudio(*regions: Any, **data: str) -> bytes:
    return files.labelstudio(files.task(files.annotation(*regions), data={"image": "a.jpg"} | data))


def json_min(**fields: Any) -> bytes:
    row = {"image": "a.jpg", "car": "17", "id": 1} | fields
    return json.dumps([row | {"annotator": 2, "annotation_id": 5, "lead_time": 3}]).encode()


SCORES: list[tuple[str, bytes]] = [
    *(("coco", files.coco(NOTE | one)) for one in (
        {"confidence": 0.9}, {"score": "0.9"}, {"score": " 9e-1 "}, {"Score": 1}, {"attributes": {"score": 0.9}},
        {"attributes": [{"name": "confidence", "value": "90 %"}]}, {"score": None, "confidence": "0,9"})),
    *(("datumaro", files.datumaro(BBOX | one)) for one in (
        {"score": 0.8}, {"attributes": {"score": "0.8"}}, {"attributes": {"score": None, "confidence": 0.8}})),
    *(("labelme", files.labelme(RECTANGLE | one)) for one in ({"confidence": 0.9}, {"attributes": {"score": "1"}})),
    *(("cvat", cvat_box(*one)) for one in (
        ('source="Auto"',), ('source=" AUTO"',), ('score="0.9"',), ('Confidence="1"',),
        ("", '<attribute name="score">0.9</attribute>'))),
    *(("voc", voc_box(one)) for one in (
        "<attributes><attribute><name>score</name><value>.9</value></attribute></attributes>",
        "<attributes><confidence>0.9</confidence></attributes>", "<Score>0.9</Score>")),
    ("labelstudio", labelstudio(REGION | {"score": 0.9})),
    ("labelstudio", files.labelstudio(files.task(files.annotation(REGION, score=0.7)))),
    ("labelstudio", json_min(label=[REGION["value"] | {"score": "0.9"}])),
    *(("groundtruth", files.groundtruth(files.manifest_line((5, 80, 30, 40, 40), **{
        "damage-metadata": {"class-map": {"5": "dent"}, "human-annotated": no}}))) for no in ("No", " NO", False)),
]  # fmt: skip


@pytest.mark.parametrize(("format", "data"), SCORES)
def test_a_score_of_any_form_is_a_prediction(format: str, data: bytes) -> None:
    parsed = labels(format, data)
    assert [problem.reason for problem in parsed.problems] == ["prediction"]
    assert parsed.boxes == []


@pytest.mark.parametrize(
    ("format", "data"),
    [
        ("coco", files.coco(NOTE | {"category_id": 2, "score": None, "confidence": "", "attributes": {"score": "x"}})),
        ("datumaro", files.datumaro(BBOX | {"attributes": {"score": None, "scores": 1}})),
        ("labelme", files.labelme(RECTANGLE | {"score": None, "confidence": True})),
        ("cvat", cvat_box('source="manual" score=""', '<attribute name="depth">0.9</attribute>')),
        ("voc", voc_box("<score/><part><name>x</name><score>0.5</score></part>")),
        ("labelstudio", labelstudio(REGION | {"score": None})),
    ],
)  # fmt: skip
def test_what_is_no_number_is_no_score(format: str, data: bytes) -> None:
    assert boxes(labels(format, data)) == [(1, BOX)]


CHOICE = {"type": "choices", "value": {"choices": ["scratch"]}}


@pytest.mark.parametrize(
    ("format", "data", "reviewed"),
    [
        ("cvat", files.cvat('<tag label="scratch" source="manual"></tag>'), False),
        ("cvat", files.cvat('<tag label=""/>'), True),
        ("datumaro", files.datumaro({"type": "label", "label_id": 0}), False),
        ("datumaro", files.datumaro({"type": "caption", "caption": "a car"}), True),
        ("labelme", files.labelme(flags={"scratch": True}, shapes=[]), False),
        ("labelme", files.labelme(flags={"scratch": False}, shapes=[]), True),
        ("labelme", files.labelme(flags={"no damage": True}, shapes=[]), True),
        ("labelstudio", labelstudio(CHOICE), False),
        ("labelstudio", labelstudio({"type": "taxonomy", "value": {"taxonomy": [["body", "scratch"]]}}), False),
        ("labelstudio", labelstudio({"type": "choices", "value": {"choices": ["No damage"]}}), True),
        ("labelstudio", json_min(), True),
        ("labelstudio", json_min(choice="scratch"), False),
        ("labelstudio", json_min(choice={"choices": ["scratch", "dent"]}), False),
        ("labelstudio", json_min(choice=[{"choices": ["scratch", "dent"]}]), False),
        ("labelstudio", json_min(choice="undamaged"), True),
        ("groundtruth", files.groundtruth(files.manifest_line(**{
            "kind-metadata": {"type": "groundtruth/image-classification", "class-name": "scratch"}})), False),
    ],
)  # fmt: skip
def test_a_photograph_of_which_a_class_is_said_is_not_clean(format: str, data: bytes, reviewed: bool) -> None:
    parsed = labels(format, data)
    assert (parsed.boxes, parsed.problems, parsed.reviewed) == ([], [], reviewed)
    assert any("of the whole photograph, and no shape" in note for note in parsed.notes) != reviewed


_WHO = {"annotator": 2, "annotation_id": 5, "lead_time": 3}


@pytest.mark.parametrize(
    ("row", "reviewed"),
    [
        ({"image": "a.jpg", "note": "left door", "id": 1, **_WHO}, True),
        ({"image": "a.jpg", "id": 1, "label": [], **_WHO, "note": "left door"}, True),
        ({"id": 1, "image": "a.jpg", "note": "left door", "label": [], **_WHO}, True),  # the data have an id, too
        ({"id": 1, "image": "a.jpg", "state": "Dent", **_WHO}, False),
        ({"id": 1, "image": "a.jpg", "state": {"choices": ["rust"]}, **_WHO}, False),
        ({**dict(sorted(_WHO.items())), "id": 1, "image": "a.jpg", "note": "left door"}, True),  # sorted by its keys
        ({"image": "a.jpg", "id": 1, "state": "rust", **_WHO}, False),
    ],
)
def test_only_the_answers_of_a_row_of_json_min_make_it_unreviewed(row: dict[str, Any], reviewed: bool) -> None:
    other = {"image": "b.jpg", "id": 2, "label": [REGION["value"]], **_WHO}
    first, second = read("labelstudio", json.dumps([row, other]).encode()).photographs
    assert (first.shapes, first.reviewed) == ([], reviewed)
    assert len(second.shapes) == 1


@pytest.mark.parametrize("format", ["cvat", "labelstudio"])
def test_a_photograph_without_shapes_beside_predictions_is_not_clean(format: str) -> None:
    empty = b'<image id="1" name="b.jpg"></image></annotations>'
    data = {
        "cvat": cvat_box('source="auto"').replace(b"</annotations>", empty),
        "labelstudio": files.labelstudio(
            files.task(files.annotation(REGION | {"score": 1})), files.task(files.annotation(), image="b.jpg")
        ),
    }[format]
    assert [photograph.reviewed for photograph in read(format, data).photographs] == [True, False]


@pytest.mark.parametrize(
    ("regions", "data", "expected"),
    [
        ([REGION | {"to_name": "image"}, REGION | {"to_name": "image2"}], {"image2": "b.jpg"}, None),
        ([REGION], {"image2": "b.jpg"}, None),
        ([], {"image2": "b.jpg"}, None),
        ([REGION | {"to_name": "picture2"}], {"image2": "b.jpg"}, None),
        ([REGION | {"to_name": "image2"}], {"image2": "b.jpg"}, ["b.jpg"]),
        ([REGION | {"to_name": "image"}], {"thumbnail": "small.jpg"}, ["a.jpg"]),
        ([REGION], {"filename": "/data/upload/1/0a1b2c3d-A.jpg"}, ["a.jpg"]),
        ([REGION | {"to_name": "img"}], {}, ["a.jpg"]),
    ],
)
def test_a_task_of_several_photographs(regions: list[Any], data: dict[str, str], expected: list[str] | None) -> None:
    photographs = read("labelstudio", labelstudio(*regions, **data)).photographs
    if expected is None:
        assert [p.file_name for p in photographs] == ["a.jpg", "b.jpg"]
        assert [[problem.reason for problem in p.problems] for p in photographs] == [["malformed"]] * 2
        assert not any(p.shapes for p in photographs)
    else:
        assert [p.file_name for p in photographs if p.shapes and not p.problems] == expected


def test_a_row_of_json_min_of_several_photographs_is_refused() -> None:
    photographs = read("labelstudio", json_min(image2="b.jpg", label2=[REGION["value"]])).photographs
    assert [(p.file_name, len(p.problems), p.shapes) for p in photographs] == [("a.jpg", 1, []), ("b.jpg", 1, [])]


TWICE = "<bndbox><xmin>50</xmin><ymin>50</ymin><xmax>80</xmax><ymax>80</ymax></bndbox>"
ROTATED = "<robndbox><cx>100</cx><cy>50</cy><w>40</w><h>40</h><angle>0</angle></robndbox>"


@pytest.mark.parametrize(
    ("data", "reasons"),
    [
        (voc_box(TWICE), ["malformed"]),
        (files.voc(more=TWICE), ["malformed"]),
        (files.voc(more=ROTATED), ["malformed"]),
        (files.voc(more=f"<items><item>{ROTATED.upper()}</item></items>"), ["malformed"]),
        (voc_box(f"<more>{TWICE}</more>"), ["malformed"]),
        (files.voc().replace(b"object>", b"Object>").replace(b"bndbox>", b"BndBox>"), []),
        (files.voc(f"<name>dent</name>{ROTATED}").replace(b"<object>", b"<objects><object>")
         .replace(b"</object>", b"</object></objects>"), []),
    ],
)  # fmt: skip
def test_voc_loses_no_box(data: bytes, reasons: list[str]) -> None:
    parsed = labels("voc", data)
    assert [problem.reason for problem in parsed.problems] == reasons
    if not reasons:
        assert (1, (20, 10, 60, 50)) in boxes(parsed) or boxes(parsed) == [(1, BOX)]


@pytest.mark.parametrize("format", ["coco", "labelme", "labelstudio", "datumaro"])
def test_json_with_a_key_twice_is_refused_by_name(format: str) -> None:
    name, data = files.VALID[format]
    key = {"coco": "annotations", "labelme": "shapes", "labelstudio": "annotations", "datumaro": "items"}[format]
    data = data.replace(f'"{key}": '.encode(), f'"{key}": [], "{key}": '.encode(), 1)
    assert recognise(name, data) == format
    with pytest.raises(NotReadable, match=f"'{key}' comes twice"):
        read_document(format, name, data)  # type: ignore[arg-type]


def test_a_line_of_a_manifest_with_a_key_twice_is_refused() -> None:
    data = files.groundtruth().replace(b'"annotations": ', b'"annotations": [], "annotations": ')
    (problem,) = read("groundtruth", data).problems
    assert (problem.reason, problem.line) == ("malformed", 1)
    assert "'annotations' comes twice" in problem.detail


@pytest.mark.parametrize("more", [{"annotations": [NOTE]}, {"objects": {"bbox": [[1, 2, 3, 4]]}}, {"x": [NOTE]}])
def test_coco_annotations_inside_an_image_are_refused(more: dict[str, Any]) -> None:
    document = json.loads(files.coco(images=[{"id": 1, "file_name": "a.jpg"} | more])) | {"annotations": []}
    with pytest.raises(NotReadable, match=r"a\.jpg has annotations inside"):
        read("coco", json.dumps(document).encode())


@pytest.mark.parametrize("size", [(0, 0), (-1, 0), (200, 0)])
def test_a_size_of_zero_in_coco_is_none(size: tuple[int, int]) -> None:
    image = {"id": 1, "file_name": "a.jpg", "width": size[0], "height": size[1], "annotations": []}
    assert boxes(labels("coco", files.coco(NOTE | {"category_id": 2}, images=[image]))) == [(1, BOX)]


def test_cvat_images_are_read_at_any_depth() -> None:
    data = files.cvat().replace(b"<image ", b"<images><Image ").replace(b"</image>", b"</Image></images>")
    assert len(boxes(labels("cvat", data))) == 2


def test_cvat_in_which_no_photograph_is_found_is_refused() -> None:
    with pytest.raises(NotReadable, match="neither an image nor a track"):
        read("cvat", files.cvat().replace(b"image", b"picture"))
    assert read("cvat", b"<annotations><version>1.1</version><meta/></annotations>").photographs == []
