"""Takes a lake of an earlier version over: from its manifests and tables the table `objects` is written, once.

It can be killed anywhere: what was written is not written again, as each part is one commit that carries its name.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import Any

from pydantic import TypeAdapter

from carsdepo_assets.data.objects.manifests import (
    BatchManifest,
    BatchObject,
    Kind,
    list_manifests,
    read_manifest,
    record_digest,
)
from carsdepo_assets.data.objects.object_states import Row, append_objects, batch_row, object_row
from carsdepo_assets.lake.index_rows import want_below, want_in
from carsdepo_assets.lake.lake import Lake, LakeError
from carsdepo_assets.lake.locks import one_writer
from carsdepo_assets.lake.object_index import ObjectIndex, open_index

logger = logging.getLogger(__name__)

_DONE = "takeover"  # the unit whose commit says that nothing is left to be taken over
_OBJECTS_A_COMMIT = 50_000
_KINDS: tuple[Kind, ...] = ("uploads", "labels")
_WANTED = re.compile(r"raw/uploads/(.+)\.\*")  # in the details of a label in quarantine for want of a photograph


class _Rechecked(BatchObject):
    """A record of versions before `objects`: a file whose bytes are those of a batch, with another time."""

    batch_id: str


_RECORD = TypeAdapter(tuple[_Rechecked, ...])


@contextmanager
def taken_over_index(lake: Lake) -> Iterator[ObjectIndex]:
    """The index of a lake's objects, for a block; what an earlier version knew of them is in it."""
    with open_index(lake) as index:
        if index.place(_DONE) is None:
            _take_over(lake, index)
        yield index


def mark_taken_over(lake: Lake, index: ObjectIndex) -> None:
    """Notes, before the first rows of a new lake, that no earlier version wrote anything."""
    if index.place(_DONE) is None:
        append_objects(lake, [], _DONE, datetime.now(UTC))
        index.refresh()
        index.keep_place(_DONE, "done")


def _take_over(lake: Lake, index: ObjectIndex) -> None:
    if not lake.committed("objects", _DONE):
        batches = {kind: list_manifests(lake, kind) for kind in _KINDS}
        if not any(batches.values()):
            return
        with one_writer(lake, "take-over"):
            logger.warning(
                "The lake is of an earlier version: its %d batches are read once.", sum(map(len, batches.values()))
            )
            for kind in _KINDS:
                _of_kind(lake, kind, batches[kind])
            append_objects(lake, [], _DONE, datetime.now(UTC))
    index.refresh()
    index.keep_place(_DONE, "done")


def _of_kind(lake: Lake, kind: Kind, batches: Sequence[str]) -> None:
    retimed = _retimed(lake, kind) if batches else {}
    part: list[BatchManifest] = []
    for number, batch in enumerate(batches, 1):
        part.append(read_manifest(lake, kind, batch))
        if number == len(batches) or sum(len(manifest.objects) for manifest in part) >= _OBJECTS_A_COMMIT:
            unit = f"takeover:{kind}:{part[0].batch_id}"
            if not lake.committed("objects", unit):
                rows = _uploads(lake, part) if kind == "uploads" else _labels(lake, part)
                append_objects(lake, [_with_new_time(row, retimed) for row in rows], unit, datetime.now(UTC))
            part = []


def _retimed(lake: Lake, kind: Kind) -> dict[tuple[str, str], BatchObject]:
    """(batch, key) -> the file with the time that it was compared with last."""
    records: dict[tuple[str, str], BatchObject] = {}
    for entry in lake.list(f"batches/rechecked/{kind}/"):
        try:
            records |= {(o.batch_id, o.key): o for o in _RECORD.validate_json(lake.get(entry.key))}
        except ValueError as error:
            raise LakeError(
                f"{entry.key}: not a record of files: {error}. Delete it: they are compared anew."
            ) from error
    return records


def _with_new_time(row: Row, retimed: dict[tuple[str, str], BatchObject]) -> Row:
    again = retimed.get((row["batch_id"], row["key"]))
    return row if again is None else {**row, "modified_at": again.modified_at, "etag": again.etag}


def _uploads(lake: Lake, manifests: Sequence[BatchManifest]) -> Iterator[Row]:
    ids = [manifest.batch_id for manifest in manifests]
    where = [("batch_id", "in", ids)]
    read = {
        (r["batch_id"], r["key"]): r for r in _rows(lake, "uploads", ["batch_id", "key", "sha256", "outcome"], where)
    }
    refused = {
        (r["batch_id"], r["key"]): r["reason"] for r in _rows(lake, "quarantine", ["batch_id", "key", "reason"], where)
    }
    digests = {r["sha256"] for r in read.values() if r["sha256"] is not None}
    images = set(lake.read("images", ["image_id"], [("image_id", "in", digests)])["image_id"].to_pylist())
    built, ingested = _committed(lake, "images", ids), _committed(lake, "processed", ids)
    for manifest in manifests:
        batch = manifest.batch_id
        yield batch_row("uploads", batch, "ingested" if batch in ingested else "closed")
        for entry in manifest.objects:
            outcome = read.get((batch, entry.key))
            if outcome is None or batch not in built:
                yield object_row("uploads", entry, "batched", batch_id=batch)
                continue
            with_digest = entry.model_copy(update={"sha256": outcome["sha256"]})
            reason = refused.get((batch, entry.key))
            new = outcome["outcome"] == "new" and outcome["sha256"] in images
            state = "quarantined" if reason is not None else "image" if new else "duplicate"
            yield object_row("uploads", with_digest, state, reason=reason, batch_id=batch)


def _labels(lake: Lake, manifests: Sequence[BatchManifest]) -> Iterator[Row]:
    ids = [manifest.batch_id for manifest in manifests]
    where = [("batch_id", "in", ids)]
    digests = {
        (r["batch_id"], r["key"]): r["sha256"] for r in _rows(lake, "annotations", ["batch_id", "key", "sha256"], where)
    }
    refused: dict[tuple[str, str], list[Row]] = {}
    for row in _rows(lake, "quarantine", ["batch_id", "key", "kind", "reason", "detail", "sha256"], where):
        if row["kind"] == "label":
            refused.setdefault((row["batch_id"], row["key"]), []).append(row)
    built = _committed(lake, "annotations", ids)
    for manifest in manifests:
        batch, record = manifest.batch_id, record_digest(manifest.options)
        yield batch_row("labels", batch, "ingested" if batch in built else "closed")
        for entry in manifest.objects:
            place = (batch, entry.key)
            if batch not in built:
                yield object_row("labels", entry, "batched", batch_id=batch, record=record)
                continue
            problems = refused.get(place, [])
            sha256 = problems[0]["sha256"] if problems else digests.get(place, entry.sha256)
            reasons = sorted({row["reason"] for row in problems}, key=lambda reason: reason != "no_photograph")
            yield object_row(
                "labels",
                entry.model_copy(update={"sha256": sha256}),
                "quarantined" if problems else "read",
                reason=reasons[0] if reasons else None,
                wants=_wants(entry.key, problems),
                batch_id=batch,
                record=record,
            )


def _committed(lake: Lake, table: str, batches: Sequence[str]) -> set[str]:
    """Those batches that are in a table. Most have rows there; only the others ask for their commit, which takes ms."""
    there = set(lake.read(table, ["batch_id"], [("batch_id", "in", batches)])["batch_id"].unique().to_pylist())
    return there | lake.tables.committed_of(table, [batch for batch in batches if batch not in there])


def _wants(key: str, problems: Sequence[Row]) -> list[str]:
    label, wants = PurePosixPath(key.removeprefix("raw/labels/")), set[str]()
    for row in problems:
        if row["reason"] == "no_photograph" and (wanted := _WANTED.search(row["detail"] or "")):
            path = PurePosixPath(wanted[1])
            wants.add(want_in(path.parent, path.name))
            if label.suffix.lower() != ".txt":
                wants.add(want_below(label, path.name))
    return sorted(wants)


def _rows(lake: Lake, table: str, columns: list[str], where: list[Any]) -> list[Row]:
    return list(lake.read(table, columns, where).to_pylist())
