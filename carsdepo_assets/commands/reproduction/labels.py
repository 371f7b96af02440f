"""The labels of a dataset as the lake has them now: revisions in the table, and the files that they were read from.

A revision's id is a digest of its boxes, and a label file's digest stands beside it. A file that was corrected since
has a later revision; the one that the model learnt from is still in the table. A file with other bytes and without a
later revision was changed behind the lake's back: it is read again, and what it says now goes into the dataset.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from carsdepo_assets.commands.reproduction.fields import ComparedField
from carsdepo_assets.data.labels.formats import NotReadable
from carsdepo_assets.data.labels.label_classes import LabelClasses
from carsdepo_assets.data.labels.label_reading import photographs_of, read_label_file
from carsdepo_assets.data.labels.label_revisions import revision_id
from carsdepo_assets.data.objects.manifests import BatchError, read_manifest
from carsdepo_assets.lake.lake import Lake, LakeError
from carsdepo_assets.policy import Policy

Row = dict[str, Any]
_EDGES = ("x1", "y1", "x2", "y2")
_JOINED = "+"  # between the ids of revisions that a majority made one labelling of


@dataclass
class LabelsNow:
    """The labels of a dataset's photographs."""

    rows: list[Row] = field(default_factory=list)
    """Rows of ANNOTATIONS for the clean lake, one a photograph."""
    fields: list[ComparedField] = field(default_factory=list)
    """One for each photograph or file that is not as it was."""
    notes: list[str] = field(default_factory=list)
    files: int = 0
    """Label files whose bytes are those that were read."""


def labels_now(source: Lake, manifest: Sequence[Row], policy: Policy) -> LabelsNow:
    """Looks up the labels of a manifest's rows.

    Args:
        source: the lake of the model.
        manifest: rows of a dataset's manifest.
        policy: its class map gave the labels their classes.
    """
    labels = LabelsNow()
    ids = {part for row in manifest for part in str(row["revision_id"]).split(_JOINED)}
    stored: dict[tuple[str, str], Row] = {}
    for row in source.read("annotations", where=[("revision_id", "in", ids)]).to_pylist():
        if row["state"] != "withdrawn":
            stored.setdefault((row["image_id"], row["revision_id"]), row)
    of_file: dict[str, list[Row]] = defaultdict(list)  # rows for the clean lake, by key of their file
    for number, row in enumerate(manifest, 1):
        label = _labelled(row, stored, labels.fields)
        if label is not None:
            labels.rows.append({**label, "sequence": number})
            of_file[label["key"]].append(labels.rows[-1])
    for key in sorted(of_file):
        _look_at_file(source, key, of_file[key], policy, labels)
    return labels


def _labelled(row: Row, stored: Mapping[tuple[str, str], Row], fields: list[ComparedField]) -> Row | None:
    """A photograph's row of ANNOTATIONS; what is wrong with it goes to `fields`."""
    image, joined = row["image_id"], str(row["revision_id"])
    name = f"labels of photograph {row['key']}"
    parts = [stored.get((image, one)) for one in joined.split(_JOINED)]
    for one, part in zip(joined.split(_JOINED), parts, strict=True):
        if part is None:
            fields.append(ComparedField("data", name, "missing", f"revision {one}", "", "not in the table annotations"))
            return None
        now = _id(part)
        if now != one:
            what = "revision digest differs: the table annotations was changed"
            fields.append(ComparedField("data", name, "differs", one, now, what))
    last = parts[-1]
    assert last is not None
    boxes = row["boxes"] or []
    if len(parts) == 1 and _boxes(last["boxes"]) != _boxes(boxes):
        what = "the manifest has other boxes than the revision"
        fields.append(ComparedField("data", name, "differs", _boxes(last["boxes"]), _boxes(boxes), what))
    return {**last, "boxes": boxes, "revision_id": joined, "batch_id": row["label_batch"], "state": None}


def _id(row: Row) -> str:
    return revision_id(
        row["image_id"],
        row["boxes"] or [],
        row["class_map_version"],
        row["origin"],
        row["negatives"] or (),
        row["state"],
    )


def _look_at_file(source: Lake, key: str, rows: Sequence[Row], policy: Policy, labels: LabelsNow) -> None:
    expected = {row["sha256"] for row in rows}
    try:
        data = source.get(key)
    except LakeError:
        labels.notes.append(f"{key} is gone: its labels are taken from the table, where their digests hold.")
        return
    now = hashlib.sha256(data).hexdigest()
    if expected == {now}:
        labels.files += 1
        return
    later = source.read("annotations", ["sha256", "revision_id"], [("key", "=", key)])
    if now in later["sha256"].to_pylist():  # corrected since, and read
        labels.notes.append(f"{key} was replaced since: its labels are taken from the table, where their digests hold.")
        return
    boxes_now = _read_again(source, key, now, data, rows, policy)
    for row in rows:
        name = f"labels of photograph {row['image_id'][:12]} ({key})"
        digests = f"file {str(row['sha256'])[:12]}", f"file {now[:12]}"
        if isinstance(boxes_now, str):
            labels.fields.append(
                ComparedField("data", name, "differs", *digests, f"it cannot be read any more: {boxes_now}")
            )
            labels.rows.remove(row)
            continue
        before, boxes = _boxes(row["boxes"]), boxes_now.get(row["image_id"], [])
        row.update(boxes=boxes, sha256=now)
        again = _id(row)
        what = f"the file's bytes were changed: boxes {before} then, {_boxes(boxes)} now"
        if again != row["revision_id"]:
            digests = row["revision_id"], again
            what = f"revision digest differs, as {what}"
        row["revision_id"] = again
        labels.fields.append(ComparedField("data", name, "differs", *digests, what))


def _read_again(
    source: Lake, key: str, sha256: str, data: bytes, rows: Sequence[Row], policy: Policy
) -> dict[str, list[Row]] | str:
    """The boxes that a file gives its photographs now, by image id; or why it gives none."""
    try:
        options = read_manifest(source, "labels", rows[0]["batch_id"]).options
        file = read_label_file(key, sha256, data, LabelClasses(source, options, policy.class_map))
        photographs = photographs_of(source, [file])
        boxes: dict[str, list[Row]] = {}
        for labelled in file.document.photographs:
            image_id = file.photograph(labelled, photographs)
            if not isinstance(image_id, str):
                continue
            claim = file.claim(labelled, image_id, photographs, policy)
            if claim.parsed.problems:
                return claim.parsed.problems[0].detail
            boxes[image_id] = [
                {"class_id": target, **dict(zip(_EDGES, xyxy, strict=True))} for target, xyxy in claim.parsed.boxes
            ]
        return boxes
    except (NotReadable, BatchError, LakeError) as error:
        return str(error)


def _boxes(boxes: Iterable[Mapping[str, Any]] | None) -> str:
    """Boxes as a text in which two lists are equal only where their boxes are."""
    listed = sorted([box["class_id"], *(box[edge] for edge in _EDGES)] for box in boxes or ())
    return str(listed) if listed else "none"
