"""Writes SageMaker Ground Truth's manifests: SPLIT.manifest with a JSON object a line, and images.

Boxes are pixels, with decimals where they have them (Ground Truth's own page draws whole pixels). A clean photograph
has a label without boxes, an unlabelled one has none.
"""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

from carsdepo_assets.data.exports.writers.exported import (
    ExportedDataset,
    ExportedPhotograph,
    LabelFiles,
    Writer,
    left_top_size,
    of_group,
)

_LABEL = "damage"  # the label attribute's name


def image_path(photograph: ExportedPhotograph) -> str:
    """Where a photograph lies below the export's folder."""
    return f"images/{photograph.name}"


def write(dataset: ExportedDataset) -> LabelFiles:
    """A manifest for each split."""
    for split, photographs in dataset.splits().items():
        lines = [json.dumps(_line(p, dataset), ensure_ascii=False) + "\n" for p in photographs]
        yield f"{split}.manifest", "".join(lines).encode()


def _line(photograph: ExportedPhotograph, dataset: ExportedDataset) -> dict[str, Any]:
    path, base = image_path(photograph), dataset.photographs_url
    # S3 keys are written as they are; other URLs are quoted.
    line: dict[str, Any] = {"source-ref": base + (quote(path) if "://" in base and base[:5] != "s3://" else path)}
    line |= {"split": photograph.split} | of_group(photograph)  # which labelling jobs hand on as they are
    if not photograph.reviewed:
        return line
    boxes = [
        {"class_id": class_id} | dict(zip(("left", "top", "width", "height"), left_top_size(box), strict=True))
        for class_id, box in photograph.boxes
    ]
    size = {"width": photograph.width, "height": photograph.height, "depth": 3}
    line[_LABEL] = {"image_size": [size], "annotations": boxes}
    line[f"{_LABEL}-metadata"] = {
        "objects": [{"confidence": 1}] * len(boxes),
        "class-map": {str(i): name for i, name in enumerate(dataset.class_names)},
        "type": "groundtruth/object-detection",
        "human-annotated": "yes",
        "creation-date": dataset.at.strftime("%Y-%m-%dT%H:%M:%S.%f"),
        "job-name": f"carsdepo-{dataset.version}",
    }
    return line


WRITER = Writer(
    image_path,
    write,
    "SageMaker: copy the folder to S3; `--photographs-url s3://BUCKET/FOLDER/` writes the addresses that it then has "
    "into the manifests. The label attribute is `damage`.",
)
