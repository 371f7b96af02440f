"""Batches: the units of work. A manifest in the lake lists each batch's objects before its partition exists.

An object is (key, size, modified_at): a file that was rewritten is a new object. Manifests never change.
Objects under `raw/<kind>/<name>/` with an import record `batches/imports/<name>.json` batch by themselves and carry
the record's options; everything else batches together, with no options.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from pathlib import PurePosixPath
from typing import Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError

from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.lake.locks import one_writer
from carsdepo_assets.lake.sources import source_for
from carsdepo_assets.policy import Policy

Kind = Literal["uploads", "labels"]

LABEL_SUFFIXES = {".txt", ".json", ".manifest"}
# What may lie beside photographs without being one.
SIDECAR_SUFFIXES = {*LABEL_SUFFIXES, ".csv", ".yaml", ".yml", ".xml", ".cache"}
_NOT_LABELS = {"classes.txt", "readme.txt"}
_BATCH_ID = re.compile(r"\d{8}T\d{12}-[0-9a-f]{12}")


class BatchError(ValueError):
    """A batch is unknown, or a step it needs has not run."""


class BatchObject(BaseModel):
    model_config = ConfigDict(frozen=True)

    key: str
    size: int  # bytes
    modified_at: AwareDatetime

    def fingerprint(self) -> bytes:
        """16 bytes naming this state of this key."""
        text = f"{self.key}\0{self.size}\0{self.modified_at.timestamp():.6f}"
        return hashlib.blake2b(text.encode("utf-8", "surrogateescape"), digest_size=16).digest()


class BatchManifest(BaseModel):
    model_config = ConfigDict(frozen=True)

    batch_id: str  # UTC time to the microsecond, then 12 hex digits of the objects: sorts by time
    kind: Kind
    objects: tuple[BatchObject, ...]
    closed_at: AwareDatetime
    origin: str = "drop"  # drop, or what the import said: sample, yolo, coco ...
    # Of an import: import (its name), format (yolo | coco), class_ids {source's id as text: our class id}.
    options: dict[str, Any] = {}


def is_photograph(key: str) -> bool:
    """Anything under raw/uploads that is no sidecar; an unknown suffix is for decoding to judge."""
    return PurePosixPath(key).suffix.lower() not in SIDECAR_SUFFIXES


def is_label(key: str) -> bool:
    path = PurePosixPath(key)
    return path.suffix.lower() in LABEL_SUFFIXES and path.name.lower() not in _NOT_LABELS


def manifest_key(kind: Kind, batch_id: str) -> str:
    return f"batches/{kind}/{batch_id}.json"


def read_manifest(lake: Lake, kind: Kind, batch_id: str) -> BatchManifest:
    """Raises BatchError when no such batch was closed."""
    key = manifest_key(kind, batch_id)
    if not _BATCH_ID.fullmatch(batch_id) or not lake.exists(key):
        raise BatchError(
            f"no {kind} batch {batch_id!r}: {key} is not in {lake.url}. "
            f"The new_{kind} sensor or `carsdepo import` closes batches."
        )
    try:
        return BatchManifest.model_validate_json(lake.get(key))
    except ValidationError as error:
        raise BatchError(f"{key}: not a batch manifest: {error}") from error


def list_batches(lake: Lake, kind: Kind) -> list[str]:
    """Ids of every closed batch, oldest first."""
    stems = (PurePosixPath(found.key).stem for found in lake.list(f"batches/{kind}/"))
    return sorted(stem for stem in stems if _BATCH_ID.fullmatch(stem))


def import_record_key(name: str) -> str:
    return f"batches/imports/{name}.json"


def plan_batches(lake: Lake, kind: Kind, policy: Policy, now: datetime, close_all: bool = False) -> list[BatchManifest]:
    """Closes the batches that are due, oldest files first, and returns the new manifests, already stored.

    A full batch (policy.data.batch_max_images) closes at once; the rest when its newest file is batch_max_age_s old,
    or with `close_all`. A label waits until its photograph's images are in, at most label_wait_s; not with `close_all`.
    """
    found, _ = source_for(lake, f"raw/{kind}/").poll(None)
    wanted = is_photograph if kind == "uploads" else is_label
    objects = [BatchObject(key=o.key, size=o.size, modified_at=o.modified_at) for o in found if wanted(o.key)]
    with one_writer(lake, f"plan-{kind}"):
        planned = _planned(lake, kind)
        fresh = [o for o in objects if o.fingerprint() not in planned]
        if kind == "labels" and fresh and not close_all:
            fresh = _with_photograph(lake, fresh, policy, now)
        if kind == "labels":
            fresh += _photograph_came_later(lake, objects)
        manifests: list[BatchManifest] = []
        for origin, options, group in _by_origin(lake, kind, fresh):
            for part in _due(group, policy, now, close_all):
                closed_at = now + timedelta(microseconds=len(manifests))  # keeps the order of one call
                manifest = BatchManifest(
                    batch_id=_batch_id(kind, part, closed_at),
                    kind=kind,
                    objects=tuple(part),
                    closed_at=closed_at,
                    origin=origin,
                    options=options,
                )
                lake.put(manifest_key(kind, manifest.batch_id), manifest.model_dump_json().encode())
                manifests.append(manifest)
        return manifests


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


def _by_origin(
    lake: Lake, kind: Kind, objects: list[BatchObject]
) -> Iterator[tuple[str, dict[str, Any], list[BatchObject]]]:
    groups: dict[str, list[BatchObject]] = {}
    records: dict[str, dict[str, Any] | None] = {}
    for entry in objects:
        parts = entry.key.removeprefix(f"raw/{kind}/").split("/")
        name = parts[0] if len(parts) > 1 else ""
        if name not in records:
            key = import_record_key(name)
            records[name] = json.loads(lake.get(key)) if name and lake.exists(key) else None
        groups.setdefault(name if records[name] is not None else "", []).append(entry)
    for name, group in sorted(groups.items()):
        record = records.get(name) or {"origin": "drop", "options": {}}
        yield record["origin"], record["options"], group


# Manifests never change, so a long-lived sensor process reads each once. (lake url, manifest key) -> fingerprints.
_seen: dict[tuple[str, str], frozenset[bytes]] = {}


def _planned(lake: Lake, kind: Kind) -> set[bytes]:
    planned: set[bytes] = set()
    for batch_id in list_batches(lake, kind):
        planned |= _fingerprints(lake, kind, batch_id)
    return planned


def _fingerprints(lake: Lake, kind: Kind, batch_id: str) -> frozenset[bytes]:
    place = (lake.url, manifest_key(kind, batch_id))
    if place not in _seen:
        _seen[place] = frozenset(o.fingerprint() for o in read_manifest(lake, kind, batch_id).objects)
    return _seen[place]


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
    """Relative paths without suffix of uploads whose fate is known: in images, or never to be."""
    done = set(lake.read("images", columns=["image_id"])["image_id"].to_pylist())
    settled: set[str] = set()
    undecided: list[tuple[str, str]] = []  # (batch, stem): refused, or its batch is under way
    for row in lake.read("uploads", columns=["batch_id", "key", "sha256", "outcome"]).to_pylist():
        stem = str(PurePosixPath(row["key"].removeprefix("raw/uploads/")).with_suffix(""))
        if row["outcome"] == "quarantined" or row["sha256"] in done:
            settled.add(stem)
        elif row["outcome"] == "new":
            undecided.append((row["batch_id"], stem))
    built = {batch for batch in {batch for batch, _ in undecided} if lake.committed("images", batch)}
    return settled | {stem for batch, stem in undecided if batch in built}


def _photograph_came_later(lake: Lake, labels: list[BatchObject]) -> list[BatchObject]:
    """Label files (.txt) in quarantine for want of a photograph that is in `images` by now: they get another batch.

    Once only: when a later batch lists the file already, its outcome there is the last word.
    """
    rows = lake.read("quarantine", columns=["batch_id", "key", "kind", "reason"]).to_pylist()
    refused = {r["key"]: r["batch_id"] for r in rows if r["kind"] == "label" and r["reason"] == "no_photograph"}
    wanted = [o for o in labels if o.key in refused and o.key.lower().endswith(".txt")]
    if not wanted:
        return []
    images = set(lake.read("images", columns=["image_id"])["image_id"].to_pylist())
    here = {
        str(PurePosixPath(r["key"].removeprefix("raw/uploads/")).with_suffix(""))
        for r in lake.read("uploads", columns=["key", "sha256"]).to_pylist()
        if r["sha256"] in images
    }
    batches = list_batches(lake, "labels")

    def last_word(label: BatchObject) -> bool:
        later = [b for b in batches if b > refused[label.key]]
        return any(label.fingerprint() in _fingerprints(lake, "labels", b) for b in later)

    found = [o for o in wanted if str(PurePosixPath(o.key.removeprefix("raw/labels/")).with_suffix("")) in here]
    # A file rewritten since is a new object, which plan_batches lists anyway.
    return [o for o in found if o.fingerprint() in _fingerprints(lake, "labels", refused[o.key]) and not last_word(o)]


def _oldest_open_upload(lake: Lake) -> datetime | None:
    """When the oldest upload that is in no finished batch was modified."""
    found, _ = source_for(lake, "raw/uploads/").poll(None)
    finished: set[bytes] = set()
    built = set(lake.read("images", columns=["batch_id"])["batch_id"].to_pylist())
    for batch_id in list_batches(lake, "uploads"):
        if batch_id in built or lake.committed("images", batch_id):
            finished |= {o.fingerprint() for o in read_manifest(lake, "uploads", batch_id).objects}
    uploads = (BatchObject(key=o.key, size=o.size, modified_at=o.modified_at) for o in found if is_photograph(o.key))
    return min((o.modified_at for o in uploads if o.fingerprint() not in finished), default=None)
