"""The sample's annotator: labels a queue's photographs from what the renderer knows. It guesses nothing.

Knows the lake by its objects only: queues/<id>/queue.json says what to label, raw/labels/queue/<id>/ takes the labels.
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
# Intake gives labels below raw/labels/queue/ this origin and annotator.
_RECORD_KEY = "batches/imports/queue.json"
_RECORD = {"origin": "annotator", "options": {"annotator": ANNOTATOR}}


class ObjectStore(Protocol):
    """What is needed of a lake."""

    def get(self, key: str) -> bytes: ...
    def put(self, key: str, data: bytes) -> None: ...
    def exists(self, key: str) -> bool: ...


class AnnotatorError(ValueError):
    """There is nothing to label by."""


@dataclass(frozen=True)
class Annotated:
    """Image ids in the queue's order. labelled: by this call. standing: had a label file. unknown: no truth, left."""

    queue_id: str
    labelled: tuple[str, ...]
    standing: tuple[str, ...]
    unknown: tuple[str, ...]


def annotate(lake: ObjectStore, queue_id: str, truth_folders: Iterable[Path], now: datetime) -> Annotated:
    """Writes the YOLO labels of the queue's photographs whose files lie in the folders (images/*, labels/*.txt).

    Photographs are recognised by the sha256 of their bytes. A label file that stands, a person's too, is left alone.
    What was done is kept in queues/<id>/annotation.json. Raises AnnotatorError for an unknown queue or a folder that
    has no photographs.
    """
    queue_key = f"queues/{queue_id}/queue.json"
    if not lake.exists(queue_key):
        raise AnnotatorError(f"no labelling queue {queue_id!r}: {queue_key} is not in the lake.")
    truth = _truth(truth_folders)
    if not lake.exists(_RECORD_KEY) or json.loads(lake.get(_RECORD_KEY)) != _RECORD:
        lake.put(_RECORD_KEY, json.dumps(_RECORD, sort_keys=True).encode())  # before the labels that it speaks of
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
    done = Annotated(queue_id, tuple(labelled), tuple(standing), tuple(unknown))
    if labelled or not lake.exists(_note_key(queue_id)):
        said = {"annotator": ANNOTATOR, "at": now.isoformat(), "labels": len(labelled) + len(standing)}
        lake.put(_note_key(queue_id), json.dumps(said | {"unknown": unknown}, indent=1).encode())
    return done


def _note_key(queue_id: str) -> str:
    return f"queues/{queue_id}/annotation.json"


def _label_key(photograph: dict[str, Any]) -> str:
    """The upload's path below raw/labels, with the suffix of YOLO labels."""
    below = PurePosixPath(photograph["upload_key"]).relative_to("raw/uploads")
    return f"raw/labels/{below.with_suffix('.txt')}"


def _truth(folders: Iterable[Path]) -> dict[str, Path]:
    """sha256 of a photograph's bytes -> its label file; photographs without a label file have no truth."""
    found: dict[str, Path] = {}
    for folder in folders:
        files = sorted(path for path in (folder / "images").glob("*") if path.is_file())
        if not files:
            raise AnnotatorError(f"{folder}: no photographs in images/. Write the window first.")
        for path in files:
            label = folder / "labels" / f"{path.stem}.txt"
            if label.is_file():
                found[hashlib.sha256(path.read_bytes()).hexdigest()] = label
    return found
