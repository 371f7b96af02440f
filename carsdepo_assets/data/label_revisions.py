"""Ingests a label batch: label files become annotation revisions, of which the latest of a photograph counts.

A file with one bad line goes to quarantine as a whole, since half of a photograph's damage would train the detector to
overlook the other half. The other files of the batch are ingested.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from carsdepo_assets.data.label_formats import coco, format_of, yolo
from carsdepo_assets.data.label_formats.parsed import Parsed, Problem
from carsdepo_assets.data.labelled_photographs import Photographs
from carsdepo_assets.data.manifests import BatchManifest, BatchObject, read_manifest
from carsdepo_assets.data.object_states import LabelOutcomes, note_labels
from carsdepo_assets.lake.annotations import latest_revisions
from carsdepo_assets.lake.lake import Lake, LakeError
from carsdepo_assets.lake.locks import one_writer
from carsdepo_assets.policy import Policy

Row = dict[str, Any]
PROBLEMS_A_FILE = 20  # rows in quarantine at most; the last one tells how many more there are


@dataclass(frozen=True)
class LabelsResult:
    """What became of the files of a label batch."""

    batch_id: str
    rows: pa.Table
    """The batch's rows of ANNOTATIONS; a photograph whose boxes are unchanged has none."""
    quarantined: pa.Table
    """The batch's rows of QUARANTINE."""
    notes: dict[str, list[str]] = field(default_factory=dict)
    """By key of a label file: what was corrected while reading it, such as clipped boxes."""


def ingest_labels(lake: Lake, batch_id: str, policy: Policy, now: datetime) -> LabelsResult:
    """Appends the revisions and quarantine rows of a batch, once; a repeated call gives the same result.

    A label whose photograph is not in `images` goes to quarantine (`no_photograph`), as batches of dropped labels
    close only when their photographs are ingested or policy.data.label_wait_s has passed.

    Raises:
        BatchError: the batch is unknown.
    """
    manifest = read_manifest(lake, "labels", batch_id)
    with one_writer(lake, "labels"):  # sequence numbers and "unchanged" are decided against what is in the table
        if not lake.committed("annotations", batch_id):
            reading = _Reading(lake, manifest, policy, now)
            if reading.notes:
                lake.put(notes_key(batch_id), json.dumps(reading.notes, indent=1).encode())
            lake.append("quarantine", reading.refused, f"labels:{batch_id}")
            # Before the annotations, whose commit says that the batch is read: a kill in between reads it again.
            note_labels(lake, batch_id, reading.outcomes, now)
            lake.append("annotations", reading.rows, batch_id)
    of_batch = ("batch_id", "=", batch_id)
    annotations = lake.read("annotations", where=[of_batch])
    quarantine = lake.read("quarantine", where=[of_batch, ("kind", "=", "label")])
    notes = json.loads(lake.get(notes_key(batch_id))) if lake.exists(notes_key(batch_id)) else {}
    return LabelsResult(
        batch_id,
        annotations.sort_by("sequence"),
        quarantine,
        notes,
    )


def notes_key(batch_id: str) -> str:
    """Where the notes about corrections of a batch's labels are stored (clipped or repeated boxes, polygons)."""
    return f"batches/label_notes/{batch_id}.json"


def revision_id(image_id: str, boxes: list[Row], class_map_version: int, origin: str) -> str:
    """The id of a revision: the same photograph, boxes (in any order), class map and origin give the same id.

    Returns:
        16 hexadecimal digits.
    """
    content = json.dumps([image_id, sorted(tuple(b.values()) for b in boxes), class_map_version, origin])
    return hashlib.sha256(content.encode()).hexdigest()[:16]


class _Reading:
    """A batch's files against the tables: rows of ANNOTATIONS, rows of QUARANTINE, notes by key."""

    def __init__(self, lake: Lake, manifest: BatchManifest, policy: Policy, now: datetime) -> None:
        self.rows: list[Row] = []
        self.refused: list[Row] = []
        self.notes: dict[str, list[str]] = {}
        self.outcomes = LabelOutcomes()
        self._manifest, self._policy, self._now = manifest, policy, now
        self._photographs = Photographs.read(lake)
        before = lake.read("annotations", columns=["image_id", "sequence", "revision_id", "created_at"])
        self._sequence = pc.max(before["sequence"]).as_py() or 0
        self._current = {r["image_id"]: r["revision_id"] for r in latest_revisions(before).to_pylist()}
        for entry in sorted(manifest.objects, key=lambda o: (o.modified_at, o.key)):
            data, sha256 = _bytes(lake, entry)
            if data is not None and entry.sha256 is not None and sha256 != entry.sha256:
                # The later batch that lists it has the class ids of the new bytes; this one has those of the old.
                self.notes.setdefault(entry.key, []).append(
                    "rewritten since its batch was closed: a later one reads it"
                )
                continue
            self._photographs.missing.clear()
            if data is None:
                self.outcomes.missing.add(entry.key)
            for image_id, parsed in self._labels(entry, data):
                if parsed.notes:
                    self.notes.setdefault(entry.key, []).extend(map(_text, parsed.notes))
                self._refuse(entry.key, sha256, parsed.problems)
                if image_id is not None and not parsed.problems:
                    self._revise(entry.key, sha256, image_id, parsed)
            if self._photographs.missing:
                self.outcomes.wants[entry.key] = set(self._photographs.missing)

    def _refuse(self, key: str, sha256: str | None, problems: list[Problem]) -> None:
        for problem in problems:  # the want of a photograph goes before other reasons, as it heals
            if problem.reason == "no_photograph" or key not in self.outcomes.refused:
                self.outcomes.refused[key] = problem.reason
        for i, problem in enumerate(problems[:PROBLEMS_A_FILE], 1):
            more = len(problems) - i if i == PROBLEMS_A_FILE else 0
            detail = _text(problem.detail) + (f"; and {more} more problems" if more else "")
            self.refused.append(
                {
                    "batch_id": self._manifest.batch_id,
                    "key": key,
                    "kind": "label",
                    "reason": problem.reason,
                    "detail": detail,
                    "line": problem.line,
                    "sha256": sha256,
                    "at": self._now,
                }
            )

    def _revise(self, key: str, sha256: str | None, image_id: str, parsed: Parsed) -> None:
        version, origin = self._policy.class_map.version, _origin(self._manifest, key)
        boxes = [
            {"class_id": class_id, **dict(zip(("x1", "y1", "x2", "y2"), xyxy, strict=True))}
            for class_id, xyxy in sorted(parsed.boxes)
        ]
        revision = revision_id(image_id, boxes, version, origin)
        if self._current.get(image_id) == revision:
            return  # the same boxes again are no new revision
        self._current[image_id] = revision
        self._sequence += 1
        self.rows.append(
            {
                "revision_id": revision,
                "image_id": image_id,
                "batch_id": self._manifest.batch_id,
                "key": key,
                "sha256": sha256,
                "origin": origin,
                "annotator": self._manifest.options.get("annotator"),
                "class_map_version": version,
                "boxes": boxes,
                "created_at": self._now,
                "sequence": self._sequence,
            }
        )

    def _labels(self, entry: BatchObject, data: bytes | None) -> Iterator[tuple[str | None, Parsed]]:
        """Yields (image_id, labels) for each photograph that a file labels; image_id None comes with problems only."""
        if data is None:
            yield None, _problem("gone", "the file was removed before it was read")
            return
        classes: Mapping[str, int] = self._manifest.options.get("class_ids") or {}
        path = PurePosixPath(entry.key.removeprefix("raw/labels/"))
        match format_of(entry.key):
            case "yolo":
                yield self._yolo(path, data, classes)
            case "coco":
                yield from self._coco(path, data, classes)
            case None:
                yield None, _problem("unsupported_format", f"{path.suffix}: labels are YOLO .txt or COCO .json")

    def _yolo(self, path: PurePosixPath, data: bytes, classes: Mapping[str, int]) -> tuple[str | None, Parsed]:
        image_id = self._photographs.at(path)
        if isinstance(image_id, Problem):
            return None, Parsed(problems=[image_id])
        ours = classes or {str(i): i for i in range(len(self._policy.class_map.names))}
        return image_id, yolo.parse(data, *self._photographs.sizes[image_id], ours)

    def _coco(
        self, path: PurePosixPath, data: bytes, classes: Mapping[str, int]
    ) -> Iterator[tuple[str | None, Parsed]]:
        try:
            images, stray, names = coco.read(data)
        except coco.NotCoco as error:
            yield None, _problem("malformed", str(error))
            return
        class_names = self._policy.class_map.names
        ours = classes or {key: class_names.index(name) for key, name in names.items() if name in class_names}
        if stray:
            yield None, Parsed(problems=stray)
        labelled: dict[str, Parsed] = {}
        for image in images:
            image_id = self._photographs.named(image.file_name, path.parent)
            if isinstance(image_id, Problem):
                yield None, Parsed(problems=[image_id])
                continue
            parsed = coco.parse(image, *self._photographs.sizes[image_id], ours)
            if image_id not in labelled:
                labelled[image_id] = parsed
            elif sorted(labelled[image_id].boxes) != sorted(parsed.boxes) or parsed.problems:
                # One photograph under two names: neither list is known to be whole.
                labelled[image_id].problems.append(
                    Problem(
                        "contradiction",
                        f"{image.file_name}: the file labels this photograph twice, with different boxes",
                    )
                )
        yield from labelled.items()


def _problem(reason: str, detail: str) -> Parsed:
    return Parsed(problems=[Problem(reason, detail)])


def _bytes(lake: Lake, entry: BatchObject) -> tuple[bytes | None, str | None]:
    """What is at the key now, and its sha256: a file rewritten since its batch was closed is a later batch's."""
    try:
        data = lake.get(entry.key)
    except LakeError:
        return None, None
    return data, hashlib.sha256(data).hexdigest()


def _origin(manifest: BatchManifest, key: str) -> str:
    if manifest.origin != "drop":
        return manifest.origin.removeprefix("import:")
    return format_of(key) or "drop"


def _text(text: str) -> str:
    """JSON may hold half a surrogate pair, which no table takes."""
    return text.encode("utf-8", "replace").decode()
