"""Labelling queues: queues/<queue_id>/queue.json lists the photographs that someone should label next, in order.

A copy of each photograph lies at its upload_key, where the ordinary intake takes it in; whoever labels it puts the
labels at its label_key. A plan.json without a queue.json belongs to a queue whose making was interrupted.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from carsdepo_assets.lake.annotations import labelled_photographs, labels_only
from carsdepo_assets.lake.lake import Lake, LakeError

FOLDER = "queues"
UPLOADS = "raw/uploads/queue"  # the prefix by which queue-selected photographs are known
LABELS = "raw/labels/queue"
_UPLOADED = "raw/uploads/"


@dataclass(frozen=True)
class QueuedPhotograph:
    """One photograph of a queue, with what the client said of it."""

    image_id: str
    """sha256 of its original bytes"""
    photograph_key: str
    """where the service kept what it was sent; of one whose annotators disagree, where it was uploaded"""
    upload_key: str
    """where the queue puts a copy for intake"""
    priority: int
    """1 is to be labelled first"""
    why: str
    """why it was chosen, in words for the annotator"""
    source: str | None = None
    """web, mobile ..."""
    camera: str | None = None
    """make and model of the camera"""
    listing: str | None = None
    """the car's listing, as the client gave it"""
    region: str | None = None
    """region of the car, as the client gave it"""
    uploader: str | None = None
    """who sent it"""

    @property
    def label_key(self) -> str:
        """Where its labels belong, as a YOLO file."""
        path = PurePosixPath(self.upload_key)
        return f"{LABELS}/{path.parent.name}/{path.stem}.txt"

    @property
    def labelled_before(self) -> bool:
        """Whether it had labels when the queue was made: it asks for others, as its annotators disagree."""
        return self.photograph_key.startswith(_UPLOADED)


@dataclass(frozen=True)
class Queue:
    """A list of photographs to label, made once and never changed."""

    queue_id: str
    """name of its folder below queues/"""
    at: datetime
    """when it was made, UTC"""
    report_id: str | None
    """the drift report that it was made for; None: made without one"""
    reason: str
    """why it was made and what was chosen, in whole sentences"""
    photographs: tuple[QueuedPhotograph, ...]
    """in order of priority"""

    def to_json(self) -> bytes:
        """Returns the content of queue.json."""
        return json.dumps(asdict(self) | {"at": self.at.isoformat()}, indent=1).encode()

    @classmethod
    def from_json(cls, data: bytes) -> Queue:
        """Reads the content of queue.json. Raises ValueError, TypeError or KeyError where it is damaged."""
        stored: dict[str, Any] = json.loads(data)
        photographs = tuple(QueuedPhotograph(**one) for one in stored.pop("photographs"))
        return cls(**stored | {"at": datetime.fromisoformat(stored["at"]), "photographs": photographs})


@dataclass(frozen=True)
class QueueState:
    """How far the labelling of one queue has come."""

    queue_id: str
    """name of its folder below queues/"""
    at: datetime
    """when it was made, UTC"""
    report_id: str | None
    """the drift report that it was made for; None: made without one"""
    reason: str
    """why it was made, in whole sentences"""
    photographs: int
    """how many it lists"""
    labelled: int
    """how many of them have labels"""
    age_s: float
    """seconds since it was made"""
    complete: bool
    """false where its making was interrupted"""

    @property
    def open(self) -> int:
        """Photographs still without labels."""
        return self.photographs - self.labelled


def queue_id_of(report_id: str) -> str:
    """Returns the id of the one queue that belongs to a drift report."""
    return f"drift-{report_id}"


def queue_key(queue_id: str) -> str:
    """Returns the key of a finished queue."""
    return f"{FOLDER}/{queue_id}/queue.json"


def plan_key(queue_id: str) -> str:
    """Returns the key of the plan of a queue, which stands there only while the queue is being made."""
    return f"{FOLDER}/{queue_id}/plan.json"


def read(lake: Lake, queue_id: str) -> Queue:
    """Returns one finished queue.

    Raises:
        LakeError: there is no such queue (the message names those that there are), or it is damaged.
    """
    key = queue_key(queue_id)
    if not lake.exists(key):
        queue_ids = ", ".join(q.queue_id for q, complete in all_queues(lake) if complete) or "none yet"
        raise LakeError(f"no labelling queue {queue_id!r} in {lake.url}. Queues: {queue_ids}.")
    return _parsed(lake, key)


def all_queues(lake: Lake) -> Iterator[tuple[Queue, bool]]:
    """Lists all queues, in order of id.

    Yields:
        Each queue, and whether it is complete: false where its making was interrupted.

    Raises:
        LakeError: a queue is damaged; the message names its file.
    """
    names_by_queue: dict[str, set[str]] = {}
    for entry in lake.list(f"{FOLDER}/"):
        path = PurePosixPath(entry.key)
        names_by_queue.setdefault(path.parent.name, set()).add(path.name)
    for queue_id, names in sorted(names_by_queue.items()):
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
            f"{key} in {lake.url} is damaged ({error}): put it back from a copy, or delete it and make the queue again."
        ) from error


def queue_state(lake: Lake, now: datetime | None = None) -> list[QueueState]:
    """Returns the progress of every queue, newest first; now: the moment that ages are counted to."""
    queues = list(all_queues(lake))
    if not queues:
        return []
    labelled, newest = labelled_photographs(lake), newest_labels(lake, (queue for queue, _ in queues))
    at = now or datetime.now(UTC)
    return [
        QueueState(
            queue.queue_id,
            queue.at,
            queue.report_id,
            queue.reason,
            len(queue.photographs),
            sum(_is_answered(p, queue, labelled, newest) for p in queue.photographs),
            (at - queue.at).total_seconds(),
            complete,
        )
        for queue, complete in sorted(queues, key=lambda pair: (pair[0].at, pair[0].queue_id), reverse=True)
    ]


def newest_labels(lake: Lake, queues: Iterable[Queue]) -> dict[str, datetime]:
    """When the newest labels came, by image id, of photographs that had labels when a queue asked for them."""
    wanted = sorted({p.image_id for queue in queues for p in queue.photographs if p.labelled_before})
    if not wanted:
        return {}
    rows = labels_only(lake.read("annotations", columns=["image_id", "key", "sequence", "created_at", "state"]))
    rows = rows.filter(pc.is_in(rows["image_id"], value_set=pa.array(wanted)))
    newest = rows.group_by("image_id").aggregate([("created_at", "max")])
    return dict(zip(newest["image_id"].to_pylist(), newest["created_at_max"].to_pylist(), strict=True))


def _is_answered(
    photograph: QueuedPhotograph, queue: Queue, labelled: set[str], newest: Mapping[str, datetime]
) -> bool:
    if photograph.image_id not in labelled:
        return False
    return not photograph.labelled_before or newest[photograph.image_id] > queue.at
