"""Decides which files in raw/ are new, and keeps what is known of each in the table `objects`.

New is a key that no batch lists, or other bytes under a key that a batch lists. A file whose size, time and ETag (on
S3) are those that are known is not opened. One whose time or ETag differs (a copied or moved lake, `touch`) is hashed
once and compared with what its batch read; equal bytes are noted with the new time, so that no later look hashes the
file again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from carsdepo_assets.data.objects.manifests import BatchObject, Kind, manifest_key, read_manifest, record_digest
from carsdepo_assets.lake.lake import Lake, ObjectMissing
from carsdepo_assets.lake.object_index import ObjectState

Row = dict[str, Any]
_READERS = 8  # threads that wait for the disk, or for S3
_A_COMMIT = 2000  # files hashed before what was found is written down: a kill costs at most these
_SMALLEST = 2**16  # bytes that opening a file costs at least, as time goes


@dataclass
class Decided:
    """What became of the files that a source delivered."""

    fresh: list[BatchObject] = field(default_factory=list)
    """Their bytes are in no batch."""
    undecided: list[BatchObject] = field(default_factory=list)
    """Their batch has not been read yet, or no more could be hashed in this call: they wait."""


def decide(
    lake: Lake,
    kind: Kind,
    entries: Sequence[BatchObject],
    states: Mapping[str, ObjectState],
    max_bytes: int,
    budget: int | None,
    keep: Callable[[list[Row]], None],
) -> Decided:
    """Tells files with new bytes from those that only have another time.

    A photograph whose batch has not been read yet waits: that batch's run reads what is there. One whose size differs
    from the manifest's would be refused by that run, and is new.

    Args:
        lake: where the files are.
        kind: uploads or labels.
        entries: files that are in raw/ now.
        states: what is known of them, by key.
        max_bytes: larger uploads are never read.
        budget: how many bytes are hashed at most in this call, the rest in later ones; None hashes all.
        keep: called with rows of `objects` for files that are known with another time.
    """
    decided = Decided()
    asked: list[BatchObject] = []  # bytes to compare
    alike: list[Row] = []
    states = _with_what_was_read(lake, states) if kind == "uploads" else states
    for entry in entries:
        before = states.get(entry.key)
        if before is None or before.info.size != entry.size:
            decided.fresh.append(entry)
        elif _facts(before) == (entry.size, entry.modified_at, entry.etag):  # it was gone, or waited, and is back
            alike.append(_again(kind, entry, before))
        elif kind == "uploads" and before.state == "batched" and before.sha256 is None:
            decided.undecided.append(entry)
        elif before.sha256 is not None:
            asked.append(entry)
        elif kind == "uploads" and (entry.size == 0 or entry.size > max_bytes):
            alike.append(_again(kind, entry, before))  # no byte of it is read, now as before
        else:
            decided.fresh.append(entry)
    keep(alike)
    asked.sort(key=lambda o: (states[o.key].batch_id, o.key))
    compared = 0
    for part in _parts(asked, budget):
        alike = []
        for entry in hashed(lake, part):
            if entry.sha256 == states[entry.key].sha256:
                alike.append(_again(kind, entry, states[entry.key]))
            elif entry.sha256 is not None:  # None: removed since it was listed
                decided.fresh.append(entry)
        keep(alike)
        compared += len(part)
    decided.undecided += asked[compared:]
    return decided


def _with_what_was_read(lake: Lake, states: Mapping[str, ObjectState]) -> Mapping[str, ObjectState]:
    """With the sha256 of photographs whose batch has been read and is under way."""
    batches = {one.batch_id for one in states.values() if one.state == "batched"}
    if not batches:
        return states
    rows = lake.read("uploads", ["batch_id", "key", "sha256"], [("batch_id", "in", sorted(batches))]).to_pylist()
    read = {(row["batch_id"], row["key"]): row["sha256"] for row in rows}
    return {key: replace(one, sha256=one.sha256 or read.get((one.batch_id, key))) for key, one in states.items()}


def hashed(lake: Lake, objects: Sequence[BatchObject]) -> list[BatchObject]:
    """The files with the sha256 of their present bytes; None for a file that was removed meanwhile."""
    with ThreadPoolExecutor(_READERS, thread_name_prefix="sha256") as pool:
        digests = pool.map(lambda o: o.sha256 or sha256_of(lake, o.key), objects)
        return [o.model_copy(update={"sha256": digest}) for o, digest in zip(objects, digests, strict=True)]


def sha256_of(lake: Lake, key: str) -> str | None:
    """The sha256 of an object's bytes in hexadecimal digits; None when it was removed meanwhile."""
    try:
        if lake.root is None:
            return hashlib.sha256(lake.get(key)).hexdigest()
        with lake.local_path(key).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except (ObjectMissing, FileNotFoundError):
        return None


def object_row(kind: Kind, entry: BatchObject, state: str, **more: Any) -> Row:
    """A row of `objects` without sequence and time, about a file in some state."""
    facts = {"size": entry.size, "modified_at": entry.modified_at, "etag": entry.etag, "sha256": entry.sha256}
    return {"key": entry.key, "kind": kind, **facts, "state": state, **more}


def append_objects(lake: Lake, rows: Sequence[Row], unit: str, at: datetime) -> None:
    """Appends rows to `objects`, once for a unit."""
    sequence = lake.version("objects") + 1  # grows with the commits that this one has seen
    lake.append("objects", [{**row, "sequence": sequence, "at": at} for row in rows], unit)


def note_uploads(lake: Lake, batch_id: str, at: datetime) -> None:
    """Notes what became of each object of an upload batch whose photographs are in `images`; once."""
    unit = f"images:{batch_id}"
    if lake.committed("objects", unit):
        return
    of_batch = [("batch_id", "=", batch_id)]
    uploads = {row["key"]: row for row in lake.read("uploads", where=of_batch).to_pylist()}
    refused = {r["key"]: r["reason"] for r in lake.read("quarantine", ["key", "reason"], of_batch).to_pylist()}
    digests = {row["sha256"] for row in uploads.values() if row["sha256"] is not None}
    images = set(lake.read("images", ["image_id"], [("image_id", "in", digests)])["image_id"].to_pylist())
    rows = []
    for entry in read_manifest(lake, "uploads", batch_id).objects:
        outcome = uploads[entry.key]
        if entry.key in refused:
            state, reason = "quarantined", refused[entry.key]
        else:
            state, reason = (
                "image" if outcome["outcome"] == "new" and outcome["sha256"] in images else "duplicate",
                None,
            )
        read = entry.model_copy(update={"sha256": outcome["sha256"]})
        rows.append(object_row("uploads", read, state, reason=reason, batch_id=batch_id))
    append_objects(lake, rows, unit, at)


@dataclass
class LabelOutcomes:
    """What became of the files of a label batch, by key; a file that is in none of these was read as it was listed."""

    missing: set[str] = field(default_factory=set)
    """Files that were removed before they were read."""
    refused: dict[str, str] = field(default_factory=dict)
    """Why files are in quarantine."""
    records: dict[str, str] = field(default_factory=dict)
    """What the lists of names meant that files were read with; see lake.index_rows.OF_LISTS."""
    wants: dict[str, set[str]] = field(default_factory=dict)
    """The photographs that were not there, and the lists of names that were; see lake.index_rows."""
    withdrawn: dict[str, ObjectState] = field(default_factory=dict)
    """Files of earlier batches that a file of this one contradicts, as they were known."""


def note_labels(lake: Lake, batch_id: str, outcomes: LabelOutcomes, at: datetime) -> None:
    """Notes what became of each file of a label batch; once."""
    manifest = read_manifest(lake, "labels", batch_id)
    record = record_digest(manifest.options)
    rows = []
    for entry in manifest.objects:
        read = entry.model_copy(update={"sha256": None}) if entry.key in outcomes.missing else entry
        state, reason = "quarantined" if entry.key in outcomes.refused else "read", outcomes.refused.get(entry.key)
        more = {"reason": reason, "wants": sorted(outcomes.wants.get(entry.key, ()))}
        more["record"] = outcomes.records.get(entry.key, record)
        rows.append(object_row("labels", read, state, batch_id=batch_id, **more))
    for earlier in outcomes.withdrawn.values():
        read = BatchObject.of(earlier.info).model_copy(update={"sha256": earlier.sha256})
        more = {"reason": "contradiction", "wants": list(earlier.wants), "record": earlier.record}
        rows.append(object_row("labels", read, "quarantined", batch_id=batch_id, **more))
    append_objects(lake, rows, f"labels:{batch_id}", at)


def batch_row(kind: Kind, batch_id: str, state: str) -> Row:
    """A row of `objects` about a batch itself: closed or ingested."""
    return {"key": manifest_key(kind, batch_id), "kind": kind, "batch_id": batch_id, "state": state}


def mark_ingested(lake: Lake, kind: Kind, batch_id: str, at: datetime) -> None:
    """Notes that a batch is ingested to its end: no run of it is asked for any more."""
    append_objects(lake, [batch_row(kind, batch_id, "ingested")], f"ingested:{kind}:{batch_id}", at)


def _facts(state: ObjectState) -> tuple[int, datetime, str | None]:
    return state.info.size, state.info.modified_at, state.info.etag


def _again(kind: Kind, entry: BatchObject, before: ObjectState) -> Row:
    """The row of a file with the bytes that are known of it: all stays as it was but its time."""
    kept = {"batch_id": before.batch_id, "reason": before.reason, "record": before.record}
    content = {"sha256": before.sha256, "wants": list(before.wants)}
    return {**object_row(kind, entry, before.state), **kept, **content}


def _parts(asked: Sequence[BatchObject], budget: int | None) -> Iterator[list[BatchObject]]:
    """At least one file, then as many as the budget has room for, some together."""
    spent, part = 0, []
    for one in asked:
        if budget is not None and spent >= budget:
            break
        spent += max(one.size, _SMALLEST)
        part.append(one)
        if len(part) == _A_COMMIT:
            yield part
            part = []
    if part:
        yield part
