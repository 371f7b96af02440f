"""data/datasets/content_digest.py: the same photographs, boxes and classes have one digest, through formats of any
precision."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carsdepo_assets.data.datasets.content_digest import content_digest
from carsdepo_assets.data.labels.formats import fit, yolo
from carsdepo_assets.data.labels.formats.documents import ClassTargets
from carsdepo_assets.data.labels.formats.parsed import Parsed, Xyxy

NAMES = ("scratch", "dent")
CLASSES: ClassTargets = {"0": 0, "1": 1}


def row(width: int, height: int, boxes: list[tuple[int, Xyxy]], image_id: str = "a") -> dict[str, Any]:
    stored = [{"class_id": c, **dict(zip(("x1", "y1", "x2", "y2"), box, strict=True))} for c, box in boxes]
    return {"image_id": image_id, "width": width, "height": height, "boxes": stored}


def through_yolo(width: int, height: int, boxes: list[tuple[int, Xyxy]]) -> list[tuple[int, Xyxy]]:
    """Six decimals of a share, as Ultralytics, Roboflow and CVAT write."""
    lines = [
        f"{c} {(x1 + x2) / 2 / width:.6f} {(y1 + y2) / 2 / height:.6f} {(x2 - x1) / width:.6f} {(y2 - y1) / height:.6f}"
        for c, (x1, y1, x2, y2) in boxes
    ]
    (photograph,) = yolo.read("a.txt", "\n".join(lines).encode()).photographs
    return fit(photograph, width, height, CLASSES).boxes


def through_coco(width: int, height: int, boxes: list[tuple[int, Xyxy]]) -> list[tuple[int, Xyxy]]:
    """Corner and size to two decimals of a pixel."""
    parsed = Parsed()
    for c, (x1, y1, x2, y2) in boxes:
        x, y, w, h = json.loads(json.dumps([round(v, 2) for v in (x1, y1, x2 - x1, y2 - y1)]))
        parsed.add(c, (x, y, x + w, y + h), width, height)
    return parsed.boxes


@st.composite
def labelled(draw: st.DrawFn) -> tuple[int, int, list[tuple[int, Xyxy]]]:
    """A photograph's size and distinct boxes whose edges are at whole steps of the digest."""
    width, height = draw(st.integers(100, 16320)), draw(st.integers(100, 12240))
    steps = 10 if max(width, height) > 6000 else 100

    def edges(side: int) -> st.SearchStrategy[tuple[float, float]]:
        pair = st.lists(st.integers(0, side * steps), min_size=2, max_size=2, unique=True).map(sorted)
        return pair.map(lambda p: (p[0] / steps, max(p[1], p[0] + steps) / steps)).filter(lambda p: p[1] <= side)

    boxes = draw(
        st.lists(
            st.tuples(st.integers(0, 1), edges(width), edges(height)).map(
                lambda b: (b[0], (b[1][0], b[2][0], b[1][1], b[2][1]))
            ),
            max_size=5,
            unique=True,
        )
    )
    return width, height, boxes


@settings(max_examples=150, deadline=None)
@given(labelled())
def test_yolo_and_coco_give_the_same_digest(photograph: tuple[int, int, list[tuple[int, Xyxy]]]) -> None:
    width, height, boxes = photograph
    expected = content_digest([row(width, height, boxes)], NAMES)
    for through in (through_yolo, through_coco):
        assert content_digest([row(width, height, through(width, height, boxes))], NAMES) == expected


BOX: tuple[int, Xyxy] = (0, (1.0, 2.0, 30.0, 40.0))
OTHER: tuple[int, Xyxy] = (1, (5.0, 5.0, 9.0, 9.0))


def test_neither_order_nor_what_is_smaller_than_a_step_counts() -> None:
    rows = [row(100, 100, [BOX, OTHER]), row(100, 100, [], "b")]
    nearly = [row(100, 100, []), row(100, 100, [OTHER, (0, (1.004, 2.0, 29.996, 40.0))])]
    nearly[0]["image_id"], nearly[1]["image_id"] = "b", "a"
    nearly[1] |= {"origin": "coco", "batch_id": "x", "split": "val", "revision_id": "r"}
    assert content_digest(nearly, NAMES) == content_digest(rows, NAMES)


@pytest.mark.parametrize(
    ("rows", "names"),
    [
        ([row(100, 100, [BOX], "b")], NAMES),
        ([row(100, 100, [])], NAMES),
        ([row(100, 100, [BOX, OTHER])], NAMES),
        ([row(100, 100, [(1, BOX[1])])], NAMES),
        ([row(100, 100, [(0, (1.02, 2.0, 30.0, 40.0))])], NAMES),
        ([row(100, 100, [BOX])], ("dent", "scratch")),
        ([row(100, 100, [BOX])], ("scratch", "dent", "rust")),
        ([row(100, 100, [BOX]), row(100, 100, [], "b")], NAMES),
    ],
)
def test_another_photograph_box_or_class_is_another_digest(rows: list[dict[str, Any]], names: tuple[str, ...]) -> None:
    assert content_digest(rows, names) != content_digest([row(100, 100, [BOX])], NAMES)
