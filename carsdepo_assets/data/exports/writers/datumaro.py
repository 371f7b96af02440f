"""Writes Datumaro's own JSON 1.0: annotations/SUBSET.json with boxes in pixels, and images/SUBSET.

Datumaro itself keeps two decimals of a pixel when it reads. A clean photograph is an item without annotations, an
unlabelled one is no item.
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
    of_group,
)

_IMAGE = 2  # Datumaro's MediaType.IMAGE


def image_path(photograph: ExportedPhotograph) -> str:
    """Where a photograph lies below the export's folder."""
    return f"images/{photograph.split}/{photograph.name}"


def write(dataset: ExportedDataset) -> LabelFiles:
    """A file for each split."""
    labels = [{"name": name, "parent": "", "attributes": []} for name in dataset.class_names]
    for split, photographs in dataset.splits().items():
        document = {
            "dm_format_version": "1.0",
            "media_type": _IMAGE,
            "infos": {"carsdepo_dataset": dataset.version, "written_at": dataset.at.isoformat()},
            "categories": {"label": {"labels": labels, "label_groups": [], "attributes": []}},
            "items": [_item(p) for p in labelled(photographs)],
        }
        yield f"annotations/{split}.json", json.dumps(document, ensure_ascii=False).encode()


def _item(photograph: ExportedPhotograph) -> dict[str, Any]:
    annotations = [
        {
            "id": number,
            "type": "bbox",
            "attributes": {},
            "group": 0,
            "label_id": class_id,
            "z_order": 0,
            "bbox": left_top_size(box),
        }
        for number, (class_id, box) in enumerate(photograph.boxes, 1)
    ]
    return {
        "id": photograph.stem,
        "annotations": annotations,
        "attr": {"image_id": photograph.image_id} | of_group(photograph),
        "image": {"path": photograph.name, "size": [photograph.height, photograph.width]},
    }


WRITER = Writer(image_path, write, "Datumaro: `Dataset.import_from(FOLDER, 'datumaro')`.")
