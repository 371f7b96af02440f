"""data/labels/formats/: COCO files, in forms that differ, and what is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest

from carsdepo_assets.data.labels.formats import NotReadable
from carsdepo_assets_tests.data import label_documents as files
from carsdepo_assets_tests.data.label_results import BOX, NOTE, boxes, labels, read


def rle(size: list[int], counts: Any) -> dict[str, Any]:
    return {"id": 5, "image_id": 1, "category_id": 1, "segmentation": {"size": size, "counts": counts}}


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
