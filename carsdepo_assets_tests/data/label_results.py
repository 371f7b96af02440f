"""What the readers make of a label file of a photograph of 200 x 100 pixels."""

from __future__ import annotations

from typing import Any

from carsdepo_assets.data.labels.formats import fit, read_document, recognise
from carsdepo_assets.data.labels.formats.documents import ClassTargets, LabelDocument
from carsdepo_assets.data.labels.formats.parsed import Parsed
from carsdepo_assets_tests.data import label_documents as files

TARGETS: ClassTargets = {"scratch": 0, "dent": 1}
BOX = (80, 30, 120, 70)

NOTE = {"id": 5, "image_id": 1, "category_id": 1, "bbox": [80, 30, 40, 40]}


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


def shape(kind: str | None, *points: Any, label: Any = "dent", **more: Any) -> dict[str, Any]:
    return {"label": label, "points": list(points), **({"shape_type": kind} if kind else {}), **more}
