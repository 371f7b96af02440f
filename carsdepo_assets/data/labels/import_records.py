"""The record of an import: the origin of the label files below raw/labels/<name>/, and what their class ids mean.

There is one record for a name, and a label file is read with the record that stands when its batch is closed. So a
record must never change what a class means while files stand below its name that were not imported with the new
meaning. Where the same files are imported with another meaning, the record's digest is another, and they are read
again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from carsdepo_assets.data.labels.formats.documents import ClassTargets, Target
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.lake.queues import LABELS

# Whoever labels the photographs of a labelling queue writes the record of its folder.
QUEUE_NAME = PurePosixPath(LABELS).name


def import_record_key(name: str) -> str:
    """Where the record of an import is stored: its origin, and what the class ids of its labels mean."""
    return f"batches/imports/{name}.json"


def read_import_record(lake: Lake, name: str) -> dict[str, Any] | None:
    """Reads the record of an import: `origin`, `options`, and `unfinished` while label files are being replaced.

    Returns:
        None where nothing was imported under this name.
    """
    key = import_record_key(name)
    record: dict[str, Any] | None = json.loads(lake.get(key)) if name and lake.exists(key) else None
    return record


def write_import_record(lake: Lake, name: str, record: Mapping[str, Any]) -> None:
    """Stores the record of an import, unless it stands there as it is."""
    if read_import_record(lake, name) != record:
        lake.put(import_record_key(name), json.dumps(record, sort_keys=True).encode())


def is_unfinished(record: Mapping[str, Any] | None) -> bool:
    """Whether an import with other class ids is replacing the name's label files: some have the ids of before."""
    return record is not None and bool(record.get("unfinished"))


def class_ids_before(
    record: Mapping[str, Any] | None, files: Sequence[str], class_names: Sequence[str]
) -> dict[str, Target] | None:
    """What the class ids of label files mean that stand below a name already.

    Args:
        record: the record of the name, as it is.
        files: keys of the label files.
        class_names: by our class id.

    Returns:
        The target by the files' class, as text; None where one answer is not true of all of them.
    """
    if is_unfinished(record):
        return None
    kept: ClassTargets = (record or {}).get("options", {}).get("class_ids") or {}
    if kept:
        return dict(kept)
    # Without class ids a YOLO file is read by position, and a COCO file by the names of its own categories.
    if any(not file.lower().endswith(".txt") for file in files):
        return None
    return {str(i): i for i in range(len(class_names))}


def class_id_clash(
    record: Mapping[str, Any] | None, files: Sequence[str], class_ids: ClassTargets, class_names: Sequence[str]
) -> str | None:
    """Why label files that stand below a name already cannot share it with files of these class ids.

    Args:
        record: the record of the name, as it is.
        files: keys of the label files that stand there and are not imported now.
        class_ids: the target by the class, as text, of the files to import.
        class_names: by our class id.

    Returns:
        The reason, about the files as "they", up to the word before what to do; None where they can.
    """
    before = class_ids_before(record, files, class_names)
    if before is not None and all(before.get(source, target) == target for source, target in class_ids.items()):
        return None
    if is_unfinished(record):
        return "an import of theirs was broken off while it replaced them. Run that import again, and then"
    if before is None:
        return "they are read by the names of their own categories. So"

    def meaning(ids: ClassTargets) -> str:
        names = {i: _target_name(target, class_names) for i, target in ids.items()}
        return ", ".join(f"{i} is {names[i]}" for i in sorted(names)) or "none has a meaning"

    return f"their class ids are others: there {meaning(before)}; here {meaning(class_ids)}. So"


def _target_name(target: Target, class_names: Sequence[str]) -> str:
    if target is None:
        return "left out"
    if isinstance(target, str):
        return target
    return class_names[target] if 0 <= target < len(class_names) else f"class {target}"
