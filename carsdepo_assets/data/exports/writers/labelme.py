"""Writes LabelMe's JSON: in a folder for each split, beside each photograph a file of its rectangles in pixels.

A clean photograph has a file without shapes, an unlabelled one has none. labels.txt names the classes.
"""

from __future__ import annotations

import json
from typing import Any

from carsdepo_assets.data.exports.writers.exported import (
    ExportedDataset,
    ExportedPhotograph,
    LabelFiles,
    Writer,
    labelled,
    rounded,
)

_VERSION = "5.5.0"  # of the program whose files have this form


def image_path(photograph: ExportedPhotograph) -> str:
    """Where a photograph lies below the export's folder."""
    return f"{photograph.split}/{photograph.name}"


def write(dataset: ExportedDataset) -> LabelFiles:
    """The names of the classes and a file for each photograph."""
    yield "labels.txt", "".join(f"{name}\n" for name in dataset.class_names).encode()
    for photograph in labelled(dataset.photographs):
        yield f"{photograph.split}/{photograph.stem}.json", _document(photograph, dataset)


def _document(photograph: ExportedPhotograph, dataset: ExportedDataset) -> bytes:
    shapes: list[dict[str, Any]] = [
        {
            "label": dataset.class_names[class_id],
            "points": [[rounded(x1), rounded(y1)], [rounded(x2), rounded(y2)]],
            "group_id": None,
            "description": "",
            "shape_type": "rectangle",
            "flags": {},
            "mask": None,
        }
        for class_id, (x1, y1, x2, y2) in photograph.boxes
    ]
    document: dict[str, Any] = {
        "version": _VERSION,
        "flags": {},
        "shapes": shapes,
        "imagePath": photograph.name,
        "imageData": None,
        "imageHeight": photograph.height,
        "imageWidth": photograph.width,
    }
    return json.dumps(document, ensure_ascii=False, indent=1).encode()


WRITER = Writer(image_path, write, "LabelMe: `labelme train --labels labels.txt`, a split's folder at a time.")
