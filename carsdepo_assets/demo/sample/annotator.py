"""The sample's annotator: gives the photographs of a labelling queue the exact labels that the renderer wrote.

It reads queues/<id>/queue.json, which lists the photographs, and writes label files below raw/labels/queue/<id>/.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

ANNOTATOR = "sample-annotator"
# This record makes intake store the origin and the annotator with the labels below raw/labels/queue/.
_RECORD_KEY = "batches/imports/queue.json"
_RECORD = {"origin": "annotator", "options": {"annotator": ANNOTATOR}}


class ObjectStore(Protocol):
    """The part of a lake that the annotator uses."""

    def get(self, key: str) -> bytes: ...
    def put(self, key: str, data: bytes) -> None: ...
    def exists(self, key: str) -> bool: ...


class AnnotatorError(ValueError):
    """The queue or the true labels are missing."""


@dataclass(frozen=True)
class Annotated:
    """What became of a queue's photographs; each list has image ids in the queue's order."""

    queue_id: str
    labelled: tuple[str, ...]
    """Given a label file by this call."""
    standing: tuple[str, ...]
    """Had a label file already, which was left as it was."""
    unknown: tuple[str, ...]
    """Left without labels, since the folders have none for them."""


def annotate(lake: ObjectStore, queue_id: str, truth_folders: Iterable[Path], now: datetime) -> Annotated:
    """Writes a YOLO label file for each photograph of the queue whose true labels are in one of the folders.

    Photographs are recognised by the sha256 of their bytes. A label file that is there already, for example a person's,
    is left alone. A summary is written to queues/<id>/annotation.json.

    Args:
        lake: Has the queue, and takes the labels.
        queue_id: Of the labelling queue.
        truth_folders: Folders with images/* and labels/*.txt.
        now: Time of the labels, with a zone.

    Returns:
        Which photographs were labelled, and which were not.

    Raises:
        AnnotatorError: For an unknown queue, or a folder without photographs.
    """
    queue_key = f"queues/{queue_id}/queue.json"
    if not lake.exists(queue_key):
        raise AnnotatorError(f"no labelling queue {queue_id!r}: {queue_key} is not in the lake.")
    truth = _truth(truth_folders)
    if not lake.exists(_RECORD_KEY) or json.loads(lake.get(_RECORD_KEY)) != _RECORD:
        lake.put(_RECORD_KEY, json.dumps(_RECORD, sort_keys=True).encode())  # before the labels that it applies to
    labelled, standing, unknown = [], [], []
    for photograph in json.loads(lake.get(queue_key))["photographs"]:
        image_id = str(photograph["image_id"])
        key = _label_key(photograph)
        if lake.exists(key):
            standing.append(image_id)
        elif image_id in truth:
            lake.put(key, truth[image_id].read_bytes())
            labelled.append(image_id)
        else:
            unknown.append(image_id)
    annotated = Annotated(queue_id, tuple(labelled), tuple(standing), tuple(unknown))
    if labelled or not lake.exists(_note_key(queue_id)):
        summary = {"annotator": ANNOTATOR, "at": now.isoformat(), "labels": len(labelled) + len(standing)}
        lake.put(_note_key(queue_id), json.dumps(summary | {"unknown": unknown}, indent=1).encode())
    return annotated


def _note_key(queue_id: str) -> str:
    return f"queues/{queue_id}/annotation.json"


def _label_key(photograph: dict[str, Any]) -> str:
    """The upload's path below raw/labels, with the suffix of YOLO labels."""
    below = PurePosixPath(photograph["upload_key"]).relative_to("raw/uploads")
    return f"raw/labels/{below.with_suffix('.txt')}"


def _truth(folders: Iterable[Path]) -> dict[str, Path]:
    """sha256 of a photograph's bytes -> its label file; photographs without a label file have no truth."""
    label_files: dict[str, Path] = {}
    for folder in folders:
        files = sorted(path for path in (folder / "images").glob("*") if path.is_file())
        if not files:
            raise AnnotatorError(f"{folder}: no photographs in images/. Write the window first.")
        for path in files:
            label = folder / "labels" / f"{path.stem}.txt"
            if label.is_file():
                label_files[hashlib.sha256(path.read_bytes()).hexdigest()] = label
    return label_files
