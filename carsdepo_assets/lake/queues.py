"""Labelling queues: queues/<queue_id>/queue.json names the photographs that someone should label next, in order.

Each photograph lies at its upload_key, from where it enters the ordinary intake; its labels are dropped at label_key.
A plan.json without a queue.json is a cut that was interrupted.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import Any

from carsdepo_assets.lake.lake import Lake, LakeError

FOLDER = "queues"
UPLOADS = "raw/uploads/queue"  # the prefix by which queue-selected photographs are known
LABELS = "raw/labels/queue"


@dataclass(frozen=True)
class Queued:
    """One photograph. priority: 1 is to be labelled first. why: in words, for the annotator."""

    image_id: str
    photograph_key: str
    upload_key: str
    priority: int
    why: str
    source: str | None = None
    camera: str | None = None
    listing: str | None = None
    region: str | None = None
    uploader: str | None = None

    @property
    def label_key(self) -> str:
        """Where its YOLO labels belong."""
        path = PurePosixPath(self.upload_key)
        return f"{LABELS}/{path.parent.name}/{path.stem}.txt"


@dataclass(frozen=True)
class Queue:
    """report_id: of the drift report that asked; None: cut without one. photographs: in order of priority."""

    queue_id: str
    at: datetime
    report_id: str | None
    reason: str
    photographs: tuple[Queued, ...]

    def to_json(self) -> bytes:
        return json.dumps(asdict(self) | {"at": self.at.isoformat()}, indent=1).encode()

    @classmethod
    def from_json(cls, data: bytes) -> Queue:
        said: dict[str, Any] = json.loads(data)
        photographs = tuple(Queued(**one) for one in said.pop("photographs"))
        return cls(**said | {"at": datetime.fromisoformat(said["at"]), "photographs": photographs})


@dataclass(frozen=True)
class QueueState:
    """How far the annotators are. age_s: seconds since the cut. complete: false while the cut was interrupted."""

    queue_id: str
    at: datetime
    report_id: str | None
    reason: str
    photographs: int
    labelled: int
    age_s: float
    complete: bool

    @property
    def open(self) -> int:
        """Photographs still without labels."""
        return self.photographs - self.labelled


def queue_id_of(report_id: str) -> str:
    """The one queue of a drift report."""
    return f"drift-{report_id}"


def queue_key(queue_id: str) -> str:
    return f"{FOLDER}/{queue_id}/queue.json"


def plan_key(queue_id: str) -> str:
    return f"{FOLDER}/{queue_id}/plan.json"


def read(lake: Lake, queue_id: str) -> Queue:
    """Raises LakeError for a damaged queue, and naming the queues there are when there is no such queue."""
    key = queue_key(queue_id)
    if not lake.exists(key):
        known = ", ".join(q.queue_id for q, complete in every(lake) if complete) or "none yet"
        raise LakeError(f"no labelling queue {queue_id!r} in {lake.url}. Queues: {known}.")
    return _parsed(lake, key)


def every(lake: Lake) -> Iterator[tuple[Queue, bool]]:
    """Every queue and whether its cut is complete, in order of id. Raises LakeError naming a damaged one."""
    found: dict[str, set[str]] = {}
    for entry in lake.list(f"{FOLDER}/"):
        path = PurePosixPath(entry.key)
        found.setdefault(path.parent.name, set()).add(path.name)
    for queue_id, names in sorted(found.items()):
        if "queue.json" in names:
            yield _parsed(lake, queue_key(queue_id)), True
        elif "plan.json" in names:
            yield _parsed(lake, plan_key(queue_id)), False


def _parsed(lake: Lake, key: str) -> Queue:
    try:
        return Queue.from_json(lake.get(key))
    except (ValueError, TypeError, KeyError) as error:
        if isinstance(error, LakeError):
            raise
        raise LakeError(
            f"{key} in {lake.url} is damaged ({error}): put it back from a copy, or delete it and have the queue cut "
            "again."
        ) from error


def queue_state(lake: Lake, now: datetime | None = None) -> list[QueueState]:
    """The progress of every queue, newest first."""
    queues = list(every(lake))
    if not queues:
        return []
    labelled = set(lake.read("annotations", columns=["image_id"])["image_id"].to_pylist())
    at = now or datetime.now(UTC)
    return [
        QueueState(
            queue.queue_id,
            queue.at,
            queue.report_id,
            queue.reason,
            len(queue.photographs),
            sum(p.image_id in labelled for p in queue.photographs),
            (at - queue.at).total_seconds(),
            complete,
        )
        for queue, complete in sorted(queues, key=lambda pair: (pair[0].at, pair[0].queue_id), reverse=True)
    ]
