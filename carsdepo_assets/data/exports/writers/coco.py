"""Writes COCO: annotations/instances_SPLIT.json with boxes in pixels, and images/SPLIT.

Category ids begin at 1: Datumaro, and with it CVAT, takes 0 for the background and reads its boxes without a class. A
clean photograph is an image without annotations, an unlabelled one is no image of the file. Image ids count the files
of a split in order of name.
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
    left_top_size,
    rounded,
)

_FIRST = 1  # category id


def image_path(photograph: ExportedPhotograph) -> str:
    """Where a photograph lies below the export's folder."""
    return f"images/{photograph.split}/{photograph.name}"


def write(dataset: ExportedDataset) -> LabelFiles:
    """A file for each split."""
    for split, photographs in dataset.splits().items():
        yield f"annotations/instances_{split}.json", _document(dataset, split, labelled(photographs))


def _document(dataset: ExportedDataset, split: str, photographs: list[ExportedPhotograph]) -> bytes:
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for image_id, p in enumerate(photographs, 1):
        images.append({"id": image_id, "file_name": p.name, "width": p.width, "height": p.height})
        for class_id, box in p.boxes:
            note: dict[str, Any] = {"id": len(annotations) + 1, "image_id": image_id, "category_id": class_id + _FIRST}
            sides = left_top_size(box)
            note |= {"bbox": sides, "area": rounded(sides[2] * sides[3]), "iscrowd": 0, "segmentation": []}
            annotations.append(note)
    document = {
        "info": {
            "description": f"carsdepo dataset {dataset.version}, split {split}",
            "version": dataset.version,
            "year": dataset.at.year,
            "date_created": dataset.at.isoformat(),
        },
        "licenses": [],
        "categories": [{"id": i, "name": n, "supercategory": ""} for i, n in enumerate(dataset.class_names, _FIRST)],
        "images": images,
        "annotations": annotations,
    }
    return json.dumps(document, ensure_ascii=False).encode()


WRITER = Writer(
    image_path,
    write,
    "pycocotools: `COCO('annotations/instances_train.json')`. Category ids begin at 1, as tools take 0 for the "
    "background; `carsdepo predict` counts classes from 0.",
)
