"""Writes Label Studio's JSON: tasks.json with an annotation a task in percent, label_config.xml, and images.

A clean photograph is a task with an annotation without regions, an unlabelled one a task without annotations.
"""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote
from xml.etree import ElementTree

from carsdepo_assets.data.exports.writers.exported import (
    ExportedDataset,
    ExportedPhotograph,
    LabelFiles,
    Writer,
    Xyxy,
    of_group,
)
from carsdepo_assets.data.exports.writers.xml_text import add, document

_LOCAL_FILES = "/data/local-files/?d="  # where Label Studio serves the files of a folder
_LABEL, _IMAGE = "label", "image"


def image_path(photograph: ExportedPhotograph) -> str:
    """Where a photograph lies below the export's folder."""
    return f"images/{photograph.name}"


def write(dataset: ExportedDataset) -> LabelFiles:
    """The tasks, and the configuration of a project that takes them."""
    tasks = [_task(number, p, dataset) for number, p in enumerate(dataset.photographs, 1)]
    yield "tasks.json", json.dumps(tasks, ensure_ascii=False, indent=1).encode()
    view = ElementTree.Element("View")
    add(view, "Image", name=_IMAGE, value=f"${_IMAGE}")
    labels = add(view, "RectangleLabels", name=_LABEL, toName=_IMAGE)
    for name in dataset.class_names:
        add(labels, "Label", value=name)
    yield "label_config.xml", document(view)


def _task(task_id: int, photograph: ExportedPhotograph, dataset: ExportedDataset) -> dict[str, Any]:
    result = [_region(number, *box, photograph, dataset) for number, box in enumerate(photograph.boxes, 1)]
    at = dataset.at.isoformat()
    annotation = {"id": task_id, "result": result, "was_cancelled": False, "ground_truth": False, "created_at": at}
    # Unfinished work is a draft: no annotation counts yet.
    finished, drafts = ([annotation], []) if photograph.reviewed else ([], [{"result": result}] if result else [])
    return {
        "id": task_id,
        # Of the data Label Studio keeps columns of any name, in its own exports, too.
        "data": {_IMAGE: _url(photograph, dataset.photographs_url), "split": photograph.split} | of_group(photograph),
        "meta": {"image_id": photograph.image_id},
        "annotations": finished,
        "drafts": drafts,
        "predictions": [],
    }


def _url(photograph: ExportedPhotograph, base: str) -> str:
    return (base or _LOCAL_FILES) + quote(image_path(photograph))


def _region(
    number: int, class_id: int, box: Xyxy, photograph: ExportedPhotograph, dataset: ExportedDataset
) -> dict[str, Any]:
    x1, y1, x2, y2 = box
    across, down = 100 / photograph.width, 100 / photograph.height
    return {
        "id": f"{photograph.image_id[:12]}-{number}",
        "type": "rectanglelabels",
        "from_name": _LABEL,
        "to_name": _IMAGE,
        "original_width": photograph.width,
        "original_height": photograph.height,
        "image_rotation": 0,
        "value": {
            "x": x1 * across,
            "y": y1 * down,
            "width": (x2 - x1) * across,
            "height": (y2 - y1) * down,
            "rotation": 0,
            "rectanglelabels": [dataset.class_names[class_id]],
        },
    }


WRITER = Writer(
    image_path,
    write,
    "Label Studio: start it with LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED=true and "
    "LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT naming this folder, create a project with label_config.xml, add images/ as "
    "local storage, and import tasks.json.",
)
