"""Closes batches of new files in raw/: the units of work of ingestion.

A manifest in the lake lists the objects of each batch before the batch's partition exists. Other bytes under a key are
a new object, the same bytes at another time are not (see object_states).

Objects under `raw/<kind>/<name>/` with an import record `batches/imports/<name>.json` batch by themselves and carry the
record's options; all other objects batch together, with no options. Labels wait while their record is unfinished.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import PurePosixPath
from typing import Any

from carsdepo_assets.data.class_names import may_hold_names
from carsdepo_assets.data.import_records import is_unfinished, read_import_record
from carsdepo_assets.data.manifests import (
    BatchError,
    BatchManifest,
    BatchObject,
    Kind,
    list_batches,
    manifest_key,
    read_manifest,
)
from carsdepo_assets.data.object_states import ObjectStates, fresh_objects, hashed, read_states
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.lake.locks import one_writer
from carsdepo_assets.lake.sources import source_for
from carsdepo_assets.policy import Policy

__all__ = ["BatchError", "BatchManifest", "BatchObject", "Kind", "list_batches", "manifest_key", "read_manifest"]

LABEL_SUFFIXES = {".txt", ".json", ".jsonl", ".manifest", ".xml"}
# Suffixes of files that may lie beside photographs without being one.
SIDECAR_SUFFIXES = {*LABEL_SUFFIXES, ".csv", ".yaml", ".yml", ".cache"}
_README = "readme.txt"


def is_photograph(key: str) -> bool:
    """Whether a key under raw/uploads is taken for a photograph: all but sidecars, as decoding decides the rest."""
    return PurePosixPath(key).suffix.lower() not in SIDECAR_SUFFIXES


def is_label(key: str) -> bool:
    """Whether a key under raw/labels is taken for a label file."""
    path = PurePosixPath(key)
    return path.suffix.lower() in LABEL_SUFFIXES and path.name.lower() != _README and not may_hold_names(path.name)


def plan_batches(lake: Lake, kind: Kind, policy: Policy, now: datetime, close_all: bool = False) -> list[BatchManifest]:
    """Closes the batches that are due and stores their manifests.

    A full batch (policy.data.batch_max_images) closes at once; the rest closes when its newest file is
    policy.data.batch_max_age_s old. A label waits until its photograph is in `images`, at most label_wait_s.

    Args:
        lake: whose raw/ is looked at.
        kind: uploads or labels.
        policy: the section `data` is used.
        now: the present, with a time zone.
        close_all: closes everything at once, and lets no label wait.

    Returns:
        The new manifests, those with the oldest files first.
    """
    entries, _ = source_for(lake, f"raw/{kind}/").poll(None)
    wanted = is_photograph if kind == "uploads" else is_label
    objects = [BatchObject.of(o) for o in entries if wanted(o.key)]
    with one_writer(lake, f"plan-{kind}"):
        budget = None if close_all else policy.data.recheck_bytes
        fresh = fresh_objects(lake, kind, objects, policy.data.max_bytes, budget, now)
        if kind == "labels" and fresh and not close_all:
            fresh = _with_photograph(lake, fresh, policy, now)
        if kind == "labels":
            fresh += _photograph_came_later(lake, objects, read_states(lake, "labels"))
        first = _after_the_last(lake, kind, now)
        manifests: list[BatchManifest] = []
        for record, group in _by_import(lake, kind, fresh):
            for part in _due(group, policy, now, close_all):
                if kind == "labels":
                    part = hashed(lake, part)
                    # Imported anew since the record was read: the bytes may be those of the new one. A later call
                    # lists them with it.
                    if any(read_import_record(lake, name) != record for name in {_top(kind, o.key) for o in part}):
                        break
                closed_at = first + timedelta(microseconds=len(manifests))  # keeps the order of one call
                manifest = BatchManifest(
                    batch_id=_batch_id(kind, part, closed_at),
                    kind=kind,
                    objects=tuple(part),
                    closed_at=closed_at,
                    origin=record["origin"] if record else "drop",
                    options=record["options"] if record else {},
                )
                lake.put(manifest_key(kind, manifest.batch_id), manifest.model_dump_json().encode())
                manifests.append(manifest)
        return manifests


def _after_the_last(lake: Lake, kind: Kind, now: datetime) -> datetime:
    """Now, or just behind the newest batch where the clock has gone back: the order of ids says which one counts."""
    last = next(reversed(list_batches(lake, kind)), None)
    if last is None:
        return now
    closed_at = datetime.strptime(last.partition("-")[0], "%Y%m%dT%H%M%S%f").replace(tzinfo=UTC)
    return max(now, closed_at + timedelta(microseconds=1))


def _batch_id(kind: Kind, objects: Iterable[BatchObject], closed_at: datetime) -> str:
    digest = hashlib.sha256(kind.encode())
    for entry in sorted(objects, key=lambda o: o.key):
        digest.update(entry.fingerprint())
    return f"{closed_at:%Y%m%dT%H%M%S%f}-{digest.hexdigest()[:12]}"


def _due(objects: list[BatchObject], policy: Policy, now: datetime, close_all: bool) -> Iterator[list[BatchObject]]:
    ordered = sorted(objects, key=lambda o: (o.modified_at, o.key))
    size = policy.data.batch_max_images
    for start in range(0, len(ordered), size):
        part = ordered[start : start + size]
        # A clock ahead of ours must not hold a batch open for ever: files from the future do not count as young.
        ages = [age for o in part if (age := (now - o.modified_at).total_seconds()) >= 0]
        if close_all or len(part) == size or not ages or min(ages) >= policy.data.batch_max_age_s:
            yield part


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


def _with_photograph(lake: Lake, labels: list[BatchObject], policy: Policy, now: datetime) -> list[BatchObject]:
    """The labels that need not wait: photograph in `images` or given up, label old enough, or nothing to wait for.

    A file that labels many photographs (COCO) waits for the uploads that are no younger than itself.
    """
    settled = _settled_stems(lake)
    oldest_open = _oldest_open_upload(lake)

    def ready(label: BatchObject) -> bool:
        if (now - label.modified_at).total_seconds() >= policy.data.label_wait_s:
            return True
        path = PurePosixPath(label.key.removeprefix("raw/labels/"))
        if path.suffix.lower() == ".txt":
            return str(path.with_suffix("")) in settled
        return oldest_open is None or oldest_open > label.modified_at

    return [label for label in labels if ready(label)]


def _settled_stems(lake: Lake) -> set[str]:
    """Relative paths, without suffix, of uploads that are in `images` or will never be."""
    with_images = set(lake.read("images", columns=["image_id"])["image_id"].to_pylist())
    settled: set[str] = set()
    undecided: list[tuple[str, str]] = []  # (batch, stem): refused, or its batch is under way
    for row in lake.read("uploads", columns=["batch_id", "key", "sha256", "outcome"]).to_pylist():
        stem = str(PurePosixPath(row["key"].removeprefix("raw/uploads/")).with_suffix(""))
        if row["outcome"] == "quarantined" or row["sha256"] in with_images:
            settled.add(stem)
        elif row["outcome"] == "new":
            undecided.append((row["batch_id"], stem))
    built = {batch for batch in {batch for batch, _ in undecided} if lake.committed("images", batch)}
    return settled | {stem for batch, stem in undecided if batch in built}


def _photograph_came_later(lake: Lake, labels: list[BatchObject], states: ObjectStates) -> list[BatchObject]:
    """Label files (.txt) in quarantine for want of a photograph that is in `images` by now: they get another batch.

    Once only: when a later batch lists the file already, its outcome there counts.
    """
    rows = lake.read("quarantine", columns=["batch_id", "key", "kind", "reason"]).to_pylist()
    refused: dict[str, str] = {}
    for row in rows:
        if row["kind"] == "label" and row["reason"] == "no_photograph":
            refused[row["key"]] = max(row["batch_id"], refused.get(row["key"], ""))
    wanted = [
        o
        for o in labels
        if o.key in refused and o.key.lower().endswith(".txt") and states.batch_of(o) == refused[o.key]
    ]
    if not wanted:
        return []
    images = set(lake.read("images", columns=["image_id"])["image_id"].to_pylist())
    here = {
        str(PurePosixPath(r["key"].removeprefix("raw/uploads/")).with_suffix(""))
        for r in lake.read("uploads", columns=["key", "sha256"]).to_pylist()
        if r["sha256"] in images
    }
    return [o for o in wanted if str(PurePosixPath(o.key.removeprefix("raw/labels/")).with_suffix("")) in here]


def _oldest_open_upload(lake: Lake) -> datetime | None:
    """When the oldest upload that is in no finished batch was modified."""
    entries, _ = source_for(lake, "raw/uploads/").poll(None)
    states = read_states(lake, "uploads")
    built = set(lake.read("images", columns=["batch_id"])["batch_id"].to_pylist())
    finished = {b for b in list_batches(lake, "uploads") if b in built or lake.committed("images", b)}
    uploads = (BatchObject.of(o) for o in entries if is_photograph(o.key))
    return min((o.modified_at for o in uploads if states.batch_of(o) not in finished), default=None)
