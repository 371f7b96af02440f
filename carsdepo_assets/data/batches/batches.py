"""Closes batches of new files in raw/: the units of work of ingestion.

What is new is decided against the table `objects` (see object_states) among what a source delivers. The manifest of a
batch is stored first, then one commit to `objects` makes the batch count, then the source is acknowledged: a kill in
between leaves at most a manifest that nobody knows, and the next call delivers its files again.

Objects under `raw/<kind>/<name>/` with an import record `batches/imports/<name>.json` batch by themselves and carry the
record's options; all other objects batch together, with no options. Labels wait while their record is unfinished.
"""

from __future__ import annotations

import hashlib
import logging
import secrets
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from carsdepo_assets.data.batches.closing import due_parts
from carsdepo_assets.data.batches.readmissions import READMITTED, readmitted
from carsdepo_assets.data.labels.import_records import is_unfinished, read_import_record
from carsdepo_assets.data.labels.waiting_labels import Again, ready, to_read_again
from carsdepo_assets.data.objects.manifests import (
    BatchError,
    BatchManifest,
    BatchObject,
    Kind,
    is_label,
    is_photograph,
    manifest_key,
    read_manifest,
    record_digest,
)
from carsdepo_assets.data.objects.object_states import Row, append_objects, batch_row, decide, hashed, object_row
from carsdepo_assets.data.objects.take_over import mark_taken_over, taken_over_index
from carsdepo_assets.data.photographs.metadata_corrections import note_manifests
from carsdepo_assets.lake.event_account import EventAccount, read_account
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.lake.locks import one_writer
from carsdepo_assets.lake.object_index import ObjectIndex
from carsdepo_assets.lake.objects import ObjectInfo
from carsdepo_assets.lake.source_choice import source_for
from carsdepo_assets.policy import Policy

__all__ = [
    "BatchError",
    "BatchManifest",
    "BatchObject",
    "Kind",
    "S3Events",
    "is_label",
    "is_photograph",
    "list_batches",
    "manifest_key",
    "read_manifest",
]

logger = logging.getLogger(__name__)

# New files that one tick of a sensor looks at, so that it stays far under its 60 s: a photograph costs a tenth of a
# millisecond, and a label file is read, from S3 too.
FILES_A_TICK: dict[Kind, int] = {"uploads": 50_000, "labels": 5_000}


@dataclass(frozen=True)
class S3Events:
    """Where S3 tells of the files of one kind; see lake.source_choice.source_for."""

    queue: str | None = None
    """URL of the SQS queue that gets its events; None: raw/ is listed."""
    inventory: str | None = None
    """s3:// URL of the folder of an S3 Inventory; None: raw/ is listed where everything is looked at."""


NO_EVENTS = S3Events()


def list_batches(lake: Lake, kind: Kind) -> list[str]:
    """Ids of every closed batch, oldest first."""
    with taken_over_index(lake) as index:
        return index.batches(kind)


def open_batches(lake: Lake, kind: Kind) -> list[str]:
    """Ids of the closed batches that are not ingested to their end, oldest first."""
    with taken_over_index(lake) as index:
        return index.batches(kind, open_only=True)


def event_account(lake: Lake, kind: Kind) -> EventAccount:
    """What this machine counted of the messages of a kind's queue."""
    with taken_over_index(lake) as index:
        return read_account(index, f"raw/{kind}")


def plan_batches(
    lake: Lake,
    kind: Kind,
    policy: Policy,
    now: datetime,
    close_all: bool = False,
    name: str | None = None,
    events: S3Events = NO_EVENTS,
) -> list[BatchManifest]:
    """Closes the batches that are due and stores their manifests.

    A full batch (policy.data.batch_max_images) closes at once; the rest closes when its newest file is
    policy.data.batch_max_age_s old, or its oldest policy.data.batch_max_wait_s (see closing.py). A label waits until
    its photograph is in `images`, at most label_wait_s. Of more than FILES_A_TICK new files the oldest are taken.

    Args:
        lake: whose raw/ is looked at: what changed as its source tells it, and all of it after
            policy.data.reconcile_s.
        kind: uploads or labels.
        policy: the section `data` is used.
        now: the present, with a time zone.
        close_all: looks at everything, however much it is, closes everything at once, and lets no label wait.
        name: of an import; only what is below raw/<kind>/<name> is looked at and closed.
        events: where S3 tells of what is new, if it does; not asked where everything is looked at.

    Returns:
        The new manifests, those with the oldest files first.
    """
    with one_writer(lake, f"plan-{kind}"), taken_over_index(lake) as index:
        return _Plan(lake, index, kind, policy, now, close_all, name, events).manifests()


class _Plan:
    """One call of plan_batches, with its lock held."""

    def __init__(
        self,
        lake: Lake,
        index: ObjectIndex,
        kind: Kind,
        policy: Policy,
        now: datetime,
        close_all: bool,
        name: str | None,
        events: S3Events,
    ) -> None:
        self._lake, self._index, self._kind, self._policy = lake, index, kind, policy
        self._now, self._close_all, self._name = now, close_all, name
        self._prefix = f"raw/{kind}" if name is None else f"raw/{kind}/{name}"
        self._unit = f"plan:{kind}:{secrets.token_hex(8)}"
        self._commits = 0
        self._events = events if name is None else NO_EVENTS

    def manifests(self) -> list[BatchManifest]:
        lake, index, kind, data = self._lake, self._index, self._kind, self._policy.data
        queue, inventory = self._events.queue, self._events.inventory
        source = source_for(
            lake,
            self._prefix,
            index,
            data.batch_max_age_s,
            queue=queue,
            inventory=None if self._close_all else inventory,
        )
        everything, gone = self._close_all or self._name is not None or self._is_reconcile_due(), list[str]()
        if everything:
            delivered, gone, cursor = source.reconcile()
        else:
            delivered, cursor = source.poll(None)
            gone = source.gone(cursor)
            delivered += self._went_on()
        wanted = is_photograph if kind == "uploads" else is_label
        seen = {o.key: BatchObject.of(o) for o in delivered if wanted(o.key)}
        not_batched = self._waiting()
        seen, more_to_come = (seen, False) if self._close_all else _first(seen, not_batched, FILES_A_TICK[kind])
        waiting = {key: entry for key, entry in not_batched.items() if key not in seen}
        entries = {**waiting, **seen}
        states = index.states_of(list(entries))
        budget = None if self._close_all else data.recheck_bytes
        decided = decide(lake, kind, list(entries.values()), states, data.max_bytes, budget, self._keep)
        due, again = list(decided.fresh), Again()
        if kind == "labels":
            if due and not self._close_all:
                due = ready(lake, index, due, data.label_wait_s, self._now, is_told=queue is not None)
            again = to_read_again(lake, index, delivered, self._policy.class_map)
            looked_at = {o.key for o in (*due, *decided.fresh, *decided.undecided)}
            more = index.states_of(sorted(again.keys - looked_at))
            due += [BatchObject.of(one.info) for one in more.values()]
        due, vanished = self._standing(due, seen)
        gone = sorted({*gone, *vanished})
        closed = self._closed(due, self._readmitted({o.key for o in due}))
        batched = {o.key for manifest in closed for o in manifest.objects}
        rows = [row for manifest in closed for row in _rows(kind, manifest)]
        rows += [
            object_row(kind, o, "waiting")
            for o in (*decided.fresh, *decided.undecided)
            if o.key not in batched and o.key not in vanished and waiting.get(o.key) != o
        ]
        rows += [{"key": key, "kind": kind, "state": "gone"} for key in gone]
        if gone:
            logger.warning(
                "%d files that were known are gone from %s, first %s; what was read of them stays.",
                len(gone), self._prefix, gone[0],
            )  # fmt: skip
        self._keep(rows)
        if queue is not None and kind == "uploads":
            note_manifests(index, delivered)
        again.note(index, batched | set(gone))  # before the acknowledgement: lists of names are delivered once
        # The sensor's own place, which a look at one import does not move. What is more is delivered again.
        if self._name is None and not more_to_come:
            source.ack(cursor)
            if everything:
                index.keep_place(f"reconciled:{self._prefix}", self._now.isoformat())
        return closed

    def _went_on(self) -> list[ObjectInfo]:
        """The files that were refused within the last look at everything and have been written to since, as a copy that
        had stalled: no folder's time tells of them. On S3 the source sees them."""
        if self._lake.root is None:
            return []
        since = self._now - timedelta(seconds=self._policy.data.reconcile_s)
        now = ((before, self._lake.info(before.key)) for before in self._index.refused_since(self._kind, since))
        return [info for before, info in now if info is not None and info != before]

    def _keep(self, rows: list[Row]) -> None:
        if rows:
            mark_taken_over(self._lake, self._index)
            append_objects(self._lake, rows, f"{self._unit}:{self._commits}", self._now)
            self._commits += 1

    def _is_reconcile_due(self) -> bool:
        last = self._index.place(f"reconciled:{self._prefix}")
        if last is None:
            return True
        return not 0 <= (self._now - datetime.fromisoformat(last)).total_seconds() < self._policy.data.reconcile_s

    def _waiting(self) -> dict[str, BatchObject]:
        """What earlier calls saw and no batch lists yet."""
        return {
            info.key: BatchObject.of(info).model_copy(update={"sha256": sha256})
            for info, sha256 in self._index.waiting(self._kind)
            if info.key.startswith(f"{self._prefix}/")
        }

    def _standing(self, due: list[BatchObject], seen: dict[str, BatchObject]) -> tuple[list[BatchObject], list[str]]:
        """The files as they are now, where they were not seen in this call; and the keys of those that are gone."""
        standing, gone = [], []
        for entry in due:
            info = None if entry.key in seen else self._lake.info(entry.key)
            if entry.key in seen:
                standing.append(entry)
            elif info is None:
                gone.append(entry.key)
            else:
                now = BatchObject.of(info)
                standing.append(entry if _same(entry, now) else now)
        return standing, gone

    def _readmitted(self, due: Collection[str]) -> list[BatchObject]:
        """The files in quarantine that a person asked for, but for those that are due anyway."""
        asked = readmitted(self._lake, self._kind, self._index)
        infos = [self._lake.info(key) for key in asked if key not in due and key.startswith(f"{self._prefix}/")]
        return [BatchObject.of(info) for info in infos if info is not None]

    def _closed(self, due: list[BatchObject], again: list[BatchObject]) -> list[BatchManifest]:
        """Stores the manifests of the batches that are due; those of files that are looked at again are their own."""
        kind = self._kind
        first, manifests = self._after_the_last(), list[BatchManifest]()
        groups = [(record, group, False) for record, group in _by_import(self._lake, kind, due)]
        groups += [(record, group, True) for record, group in _by_import(self._lake, kind, again)]
        for record, group, is_again in groups:
            for part in _due(group, self._policy, self._now, self._close_all):
                if kind == "labels":
                    part = hashed(self._lake, part)
                    # Imported anew since the record was read: the bytes may be those of the new one. A later call
                    # lists them with it.
                    if any(
                        read_import_record(self._lake, name) != record for name in {_top(kind, o.key) for o in part}
                    ):
                        break
                closed_at = first + timedelta(microseconds=len(manifests))  # keeps the order of one call
                manifest = BatchManifest(
                    batch_id=_batch_id(kind, part, closed_at),
                    kind=kind,
                    objects=tuple(part),
                    closed_at=closed_at,
                    origin=record["origin"] if record else "drop",
                    options={**(record["options"] if record else {}), **(READMITTED if is_again else {})},
                )
                mark_taken_over(self._lake, self._index)  # or another machine takes the manifest for an old lake's
                self._lake.put(manifest_key(kind, manifest.batch_id), manifest.model_dump_json().encode())
                manifests.append(manifest)
        return manifests

    def _after_the_last(self) -> datetime:
        """Now, or just behind the newest batch where the clock has gone back: the order of ids says which counts."""
        last = self._index.newest_batch(self._kind)
        if last is None:
            return self._now
        closed_at = datetime.strptime(last.partition("-")[0], "%Y%m%dT%H%M%S%f").replace(tzinfo=UTC)
        return max(self._now, closed_at + timedelta(microseconds=1))


def _rows(kind: Kind, manifest: BatchManifest) -> Iterator[Row]:
    yield batch_row(kind, manifest.batch_id, "closed")
    record = record_digest(manifest.options) if kind == "labels" else None
    for entry in manifest.objects:
        yield object_row(kind, entry, "batched", batch_id=manifest.batch_id, record=record)


def _batch_id(kind: Kind, objects: Iterable[BatchObject], closed_at: datetime) -> str:
    digest = hashlib.sha256(kind.encode())
    for entry in sorted(objects, key=lambda o: o.key):
        digest.update(entry.fingerprint())
    return f"{closed_at:%Y%m%dT%H%M%S%f}-{digest.hexdigest()[:12]}"


def _same(one: BatchObject, other: BatchObject) -> bool:
    return (one.size, one.modified_at, one.etag) == (other.size, other.modified_at, other.etag)


def _first(
    seen: dict[str, BatchObject], waiting: dict[str, BatchObject], count: int
) -> tuple[dict[str, BatchObject], bool]:
    """So many of the oldest new files, with those that wait already; and whether there are more."""
    new = [entry for key, entry in seen.items() if key not in waiting or not _same(waiting[key], entry)]
    if len(new) <= count:
        return seen, False
    later = sorted(new, key=lambda o: (o.modified_at, o.key))[count:]
    logger.info("%d more files came than one look takes: the next ones take them.", len(later))
    left_out = {entry.key for entry in later}
    return {key: entry for key, entry in seen.items() if key not in left_out}, True


def _due(objects: list[BatchObject], policy: Policy, now: datetime, close_all: bool) -> Iterator[list[BatchObject]]:
    ordered = sorted(objects, key=lambda o: (o.modified_at, o.key))
    for start, end in due_parts([o.modified_at for o in ordered], policy.data, now, close_all):
        yield ordered[start:end]


def _by_import(
    lake: Lake, kind: Kind, objects: list[BatchObject]
) -> Iterator[tuple[dict[str, Any] | None, list[BatchObject]]]:
    """The record and the objects of each import, and (None, all others)."""
    groups: dict[str, list[BatchObject]] = {}
    records: dict[str, dict[str, Any] | None] = {"": None}
    for entry in objects:
        name = _top(kind, entry.key)
        if name not in records:
            records[name] = read_import_record(lake, name)
        groups.setdefault(name if records[name] is not None else "", []).append(entry)
    for name, group in sorted(groups.items()):
        if kind == "labels" and is_unfinished(records[name]):
            continue
        yield records[name], group


def _top(kind: Kind, key: str) -> str:
    """The topmost folder of a key below raw/<kind>, which is an import's name if it has a record."""
    top, below, _ = key.removeprefix(f"raw/{kind}/").partition("/")
    return top if below else ""
