"""Decides which files in raw/ are new: a key that no batch lists, or other bytes under a key that a batch lists.

A file whose size, time and ETag (on S3) are those of the newest batch that lists its key is not opened. One whose time
or ETag differs (a copied or moved lake, `touch`) is hashed once and compared with what that batch read; equal bytes are
written down in `batches/rechecked/`, whose records never change, so that no later look hashes the file again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import TypeAdapter

from carsdepo_assets.data.manifests import BatchObject, Kind, list_batches, manifest_key, read_manifest
from carsdepo_assets.lake.lake import Lake, LakeError

_READERS = 8  # threads that wait for the disk, or for S3
_A_RECORD = 2000  # files hashed before what was found is written down: a kill costs at most these
_SMALLEST = 2**16  # bytes that opening a file costs at least, as time goes


@dataclass(frozen=True)
class _Content:
    """What a batch has at a key. size: bytes. sha256: None where nothing was read."""

    size: int
    sha256: str | None


class Rechecked(BatchObject):
    """A file whose bytes are those that the batch has; sha256 is None where that batch could not read them either."""

    batch_id: str


_RECORD = TypeAdapter(tuple[Rechecked, ...])


@dataclass
class ObjectStates:
    """Which batch has which file."""

    listed: dict[str, tuple[bytes, str]] = field(default_factory=dict)
    """By key: the fingerprint in, and the id of, the newest batch that lists it."""
    rechecked: set[tuple[bytes, str]] = field(default_factory=set)
    """(fingerprint, batch id) of files with another time whose bytes are those of the batch."""
    _merged: set[str] = field(default_factory=set)  # keys of manifests and records that are in here

    def batch_of(self, entry: BatchObject) -> str | None:
        """The id of the batch that has the file's bytes; None when they are new or were not compared yet."""
        if entry.key not in self.listed:
            return None
        fingerprint, batch_id = self.listed[entry.key]
        # The second is how versions that did not know ETags wrote the file down.
        mine = {entry.fingerprint(), entry.fingerprint(with_etag=False)}
        is_listed = fingerprint in mine or any((one, batch_id) in self.rechecked for one in mine)
        return batch_id if is_listed else None


# Manifests and records never change, so a long-lived sensor process reads each once.
_states: dict[tuple[str, Kind], ObjectStates] = {}


def read_states(lake: Lake, kind: Kind) -> ObjectStates:
    """The states of all keys that any batch of a kind lists."""
    batches = list_batches(lake, kind)
    manifests = {manifest_key(kind, batch_id): batch_id for batch_id in batches}
    records = [entry.key for entry in lake.list(f"batches/rechecked/{kind}/")]
    states = _states.get((lake.url, kind), ObjectStates())
    fresh = [key for key in manifests if key not in states._merged]
    # A lake that was reset, or a manifest older than one that was read before it: all anew, in order.
    in_order = not fresh or min(fresh) > max((k for k in states._merged if k in manifests), default="")
    if not in_order or not states._merged <= {*manifests, *records}:
        states, fresh = ObjectStates(), list(manifests)
    for key in fresh:
        manifest = read_manifest(lake, kind, manifests[key])
        states.listed.update({o.key: (o.fingerprint(), manifest.batch_id) for o in manifest.objects})
        states._merged.add(key)
    for key in records:
        if key not in states._merged:
            states.rechecked.update((o.fingerprint(), o.batch_id) for o in _record(lake, key))
            states._merged.add(key)
    _states[lake.url, kind] = states
    return states


def fresh_objects(
    lake: Lake, kind: Kind, objects: Iterable[BatchObject], max_bytes: int, budget: int | None, now: datetime
) -> list[BatchObject]:
    """The files in raw/ whose bytes no batch has.

    A photograph whose batch has not been read yet is left out: that batch's run reads what is there. The caller holds
    the lock of the kind's plans.

    Args:
        lake: where the files are.
        kind: uploads or labels.
        objects: the files that are in raw/ now.
        max_bytes: larger uploads are never read.
        budget: how many bytes are hashed at most in this call, the rest in later ones; None hashes all.
        now: the present, with a time zone.
    """
    states = read_states(lake, kind)
    fresh: list[BatchObject] = []
    retimed: list[tuple[str, BatchObject]] = []
    for entry in objects:
        if states.batch_of(entry) is not None:
            continue
        if entry.key in states.listed:
            retimed.append((states.listed[entry.key][1], entry))
        else:
            fresh.append(entry)
    if retimed:
        fresh += _changed(lake, kind, retimed, max_bytes, budget, now)
    return fresh


def hashed(lake: Lake, objects: list[BatchObject]) -> list[BatchObject]:
    """The files with the sha256 of their present bytes; None for a file that was removed meanwhile."""
    with ThreadPoolExecutor(_READERS, thread_name_prefix="sha256") as pool:
        digests = pool.map(lambda o: o.sha256 or sha256_of(lake, o.key), objects)
        return [o.model_copy(update={"sha256": digest}) for o, digest in zip(objects, digests, strict=True)]


def _changed(
    lake: Lake, kind: Kind, retimed: list[tuple[str, BatchObject]], max_bytes: int, budget: int | None, now: datetime
) -> list[BatchObject]:
    """Of objects with another size or time than in their batch those with other bytes; the same ones are recorded."""
    changed: list[BatchObject] = []
    alike: list[Rechecked] = []
    asked: list[tuple[str, BatchObject]] = []  # bytes to compare
    contents = _contents(lake, kind, retimed)
    for batch_id, entry in sorted(retimed, key=lambda pair: (pair[0], pair[1].key)):
        before = contents.get((batch_id, entry.key))
        if before is None:
            continue  # its batch is not read yet
        if before.size != entry.size:
            changed.append(entry)
        elif before.sha256 is not None:
            asked.append((batch_id, entry))
        elif kind == "uploads" and (entry.size == 0 or entry.size > max_bytes):
            alike.append(_again(batch_id, entry))  # no byte of it is read, now as before
        else:
            changed.append(entry)
    _write_record(lake, kind, alike, now)
    for part in _parts(asked, budget):
        alike = []
        for (batch_id, _), entry in zip(part, hashed(lake, [entry for _, entry in part]), strict=True):
            before = contents[batch_id, entry.key]
            if entry.sha256 == before.sha256:
                alike.append(_again(batch_id, entry))
            elif entry.sha256 is not None:  # None: removed since it was listed
                changed.append(entry)
        _write_record(lake, kind, alike, now)
    return changed


def sha256_of(lake: Lake, key: str) -> str | None:
    """The sha256 of an object's bytes in hexadecimal digits; None when it was removed meanwhile."""
    try:
        if lake.root is None:
            return hashlib.sha256(lake.get(key)).hexdigest()
        with lake.local_path(key).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except (LakeError, FileNotFoundError):
        return None


def _parts(asked: list[tuple[str, BatchObject]], budget: int | None) -> Iterator[list[tuple[str, BatchObject]]]:
    """At least one file, then as many as the budget has room for, some together."""
    spent, part = 0, []
    for one in asked:
        if budget is not None and spent >= budget:
            break
        spent += max(one[1].size, _SMALLEST)
        part.append(one)
        if len(part) == _A_RECORD:
            yield part
            part = []
    if part:
        yield part


def _contents(lake: Lake, kind: Kind, retimed: list[tuple[str, BatchObject]]) -> dict[tuple[str, str], _Content]:
    """(batch, key) -> what the batch has there; a photograph's is left out while its batch has not been read.

    That batch's run reads what stands there, so it need not be listed again; but one whose size differs from the
    manifest's would be refused by the run, so the manifest's size is given then.
    """
    batch_ids = {batch_id for batch_id, _ in retimed}
    wanted = {(batch_id, entry.key): entry.size for batch_id, entry in retimed}
    contents: dict[tuple[str, str], _Content] = {}
    read: dict[tuple[str, str], str | None] = {}  # None: it was not there, or not readable
    for table in ("uploads",) if kind == "uploads" else ("annotations", "quarantine"):
        rows = lake.read(table, columns=["batch_id", "key", "sha256"])
        rows = rows.filter(pc.is_in(rows["batch_id"], pa.array(sorted(batch_ids), pa.string())))
        read |= {(row["batch_id"], row["key"]): row["sha256"] for row in rows.to_pylist()}
    for batch_id in batch_ids:
        for entry in read_manifest(lake, kind, batch_id).objects:
            place = (batch_id, entry.key)
            if place not in wanted:
                continue
            # Most label files that were read have no row of their own; manifests of earlier versions have no sha256.
            if kind == "labels" or place in read or entry.size != wanted[place]:
                contents[place] = _Content(entry.size, read.get(place, entry.sha256))
    return contents


def _again(batch_id: str, entry: BatchObject) -> Rechecked:
    return Rechecked(**entry.model_dump(), batch_id=batch_id)


def _write_record(lake: Lake, kind: Kind, alike: list[Rechecked], now: datetime) -> None:
    if not alike:
        return
    digest = hashlib.sha256(b"".join(sorted(one.fingerprint() for one in alike))).hexdigest()[:12]
    lake.put(f"batches/rechecked/{kind}/{now:%Y%m%dT%H%M%S%f}-{digest}.json", _RECORD.dump_json(tuple(alike)))


def _record(lake: Lake, key: str) -> tuple[Rechecked, ...]:
    try:
        return _RECORD.validate_json(lake.get(key))
    except ValueError as error:
        raise LakeError(f"{key}: not a record of files: {error}. Delete it: their bytes are compared anew.") from error
