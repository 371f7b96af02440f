"""Makes a labelling queue: chooses photographs, copies them into the ordinary intake, then writes queue.json.

The choice is written first (plan.json), so that a queue whose making was killed is finished by the next run unchanged.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from carsdepo_assets.experiments.queue_ranking import (
    DISPUTED,
    DRIFTED,
    REST,
    UNSURE,
    QueueCandidate,
    by_uncertainty,
    drifted_first,
    outside,
    spread,
)
from carsdepo_assets.experiments.queue_sheet import contact_sheet, sheet_csv
from carsdepo_assets.imaging.bad_image import BadImage
from carsdepo_assets.imaging.decode import decode
from carsdepo_assets.imaging.features import FEATURE_PX
from carsdepo_assets.imaging.perceptual import MIN_CORRELATION, correlation, grey_thumbnail, phash
from carsdepo_assets.imaging.resize import fit_longest
from carsdepo_assets.lake import queues
from carsdepo_assets.lake.annotations import labelled_photographs
from carsdepo_assets.lake.data_schemas import IMAGES
from carsdepo_assets.lake.image_metadata import read_images
from carsdepo_assets.lake.label_conflicts import disputed_photographs
from carsdepo_assets.lake.lake import Lake, ObjectMissing
from carsdepo_assets.lake.locks import one_writer
from carsdepo_assets.lake.queues import Queue, QueuedPhotograph, queue_state
from carsdepo_assets.policy import Policy

__all__ = ["Queue", "QueueError", "make_queue", "queue_state"]

_SAME_LIGHT = 16.0  # grey levels of 255 between mean luma: the same scene in other light is something new to learn
_MONITORED = "production"
_LIKELY = 0.5  # probability of being part of the change: more likely than not


class QueueError(ValueError):
    """The queue that was asked for cannot be made."""


def make_queue(lake: Lake, policy: Policy, report_id: str | None, now: datetime) -> Queue:
    """Makes the labelling queue of a drift report, or one by the model's uncertainty.

    A report has one queue: asked again, the same comes back, finished if it was not. Without a report an unfinished
    queue is finished first. A queue without photographs is not stored; its reason says what became of the candidates.

    Args:
        report_id: the drift report whose photographs are wanted; None: those of the last
            policy.monitoring.window_hours of which the model is least certain.
        now: the end of that window, and the queue's date.

    Raises:
        QueueError: there is no such report in the table `drift`.
    """
    with one_writer(lake, "labelling-queues"):
        report = None if report_id is None else _report(lake, report_id)
        standing = _standing(lake, report_id)
        if standing is None:
            standing = _plan(lake, policy, report, now)
            if not standing.photographs:
                return standing
            lake.put(queues.plan_key(standing.queue_id), standing.to_json())
        elif lake.exists(queues.queue_key(standing.queue_id)):
            return standing
        return _finish(lake, standing)


def _standing(lake: Lake, report_id: str | None) -> Queue | None:
    """The report's queue, or an unfinished one of no report."""
    for queue, complete in queues.all_queues(lake):
        if queue.report_id == report_id and (report_id is not None or not complete):
            return queue
    return None


def _report(lake: Lake, report_id: str) -> dict[str, Any]:
    rows = lake.read("drift").to_pylist()
    matching = [r for r in rows if r["report_id"] == report_id]
    if not matching:
        newest = ", ".join(r["report_id"] for r in sorted(rows, key=lambda r: r["at"])[-5:]) or "none yet"
        raise QueueError(f"no drift report {report_id!r} in {lake.url}; the newest are: {newest}.")
    return dict(max(matching, key=lambda r: r["at"]))


def _plan(lake: Lake, policy: Policy, report: Mapping[str, Any] | None, now: datetime) -> Queue:
    queue_id = f"cut-{now:%Y%m%dT%H%M%S%f}" if report is None else queues.queue_id_of(report["report_id"])
    window = _window(lake, policy, report, now)
    left_out: Counter[str] = Counter()
    open_rows = list(_unlabelled(lake, window, left_out))
    candidates = by_uncertainty(open_rows, queue_id)
    if report is not None and report["band"] not in ("none", "unknown"):
        candidates = drifted_first(candidates, _drifted(lake, report, open_rows, window))
    candidates += _disputed(lake, policy)
    repeats = _LookAlikes(lake, policy)
    taken = spread(
        candidates, policy.monitoring.queue_size, lambda c: c.tier == DISPUTED or repeats.is_new(c, left_out)
    )
    photographs = tuple(_queued(queue_id, c, number) for number, c in enumerate(taken, 1))
    reason = _reason(report, taken, len(window), left_out)
    return Queue(queue_id, now, None if report is None else report["report_id"], reason, photographs)


def _window(lake: Lake, policy: Policy, report: Mapping[str, Any] | None, now: datetime) -> list[dict[str, Any]]:
    """The last answer of each photograph that production answered: in the report's window, by the report's model."""
    first = now - timedelta(hours=policy.monitoring.window_hours) if report is None else report["window_from"]
    last = now if report is None else report["window_to"]
    answers = lake.read("inferences")
    chosen = pc.and_(pc.greater_equal(answers["at"], first), pc.less(answers["at"], last))
    chosen = pc.and_(chosen, pc.equal(answers["stage"], _MONITORED))
    if report is not None and report["digest"]:
        chosen = pc.and_(chosen, pc.equal(answers["digest"], report["digest"]))
    rows = answers.filter(chosen).sort_by([("at", "ascending"), ("prediction_id", "ascending")]).to_pylist()
    return list({row["image_id"]: row for row in rows}.values())


def _unlabelled(lake: Lake, rows: Iterable[dict[str, Any]], left_out: Counter[str]) -> Iterable[dict[str, Any]]:
    labelled = labelled_photographs(lake)
    queued = {p.image_id for queue, _ in queues.all_queues(lake) for p in queue.photographs}
    for row in rows:
        if row["image_id"] in labelled:
            left_out["labelled already"] += 1
        elif row["image_id"] in queued:
            left_out["in another queue"] += 1
        elif row["photograph_key"] is None or not lake.exists(row["photograph_key"]):
            left_out["not kept (policy.inference.keep_photographs, or forgotten)"] += 1
        else:
            yield row


def _disputed(lake: Lake, policy: Policy) -> list[QueueCandidate]:
    """Photographs that conflicting labels keep out of datasets, and for which no queue waits already."""
    reasons = disputed_photographs(lake, policy)
    if not reasons:
        return []
    asked = [queue for queue, _ in queues.all_queues(lake)]
    newest = queues.newest_labels(lake, asked)
    waiting = {
        photograph.image_id
        for queue in asked
        for photograph in queue.photographs
        if photograph.labelled_before and newest[photograph.image_id] <= queue.at
    }
    images = read_images(lake, ["image_id", "key", "camera", "listing", "region", "uploader"])
    images = images.filter(
        pc.is_in(images["image_id"], value_set=pa.array(sorted(reasons.keys() - waiting), pa.string()))
    )
    return [
        QueueCandidate(
            row | {"photograph_key": row["key"], "source": None},
            row["listing"] or row["image_id"],
            DISPUTED,
            0.0,
            reasons[row["image_id"]],
        )
        for row in images.to_pylist()
    ]


def _drifted(
    lake: Lake, report: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], window: Sequence[Mapping[str, Any]]
) -> dict[str, str]:
    """Image id -> why, the most drifted first: as the report ranks them, else by its worst feature."""
    feature = report["worst_feature"]
    ranked = _ranked_by_report(lake, report)
    if ranked is not None:
        drifted = f"drifted in {feature}"
        return {i: f"{drifted}: {100 * p:.0f} % likely to be part of the change" for i, p in ranked if p >= _LIKELY}
    if feature not in IMAGES.names or feature not in (window[0] if window else {}):
        return {}
    images = lake.read("images", columns=["key", feature]).to_pylist()
    # What a queue brought in was chosen for being odd: it is no reference.
    reference = [r[feature] for r in images if r[feature] is not None and not r["key"].startswith(queues.UPLOADS)]
    return outside(rows, reference, feature, [r[feature] for r in window if r[feature] is not None])


def _ranked_by_report(lake: Lake, report: Mapping[str, Any]) -> list[tuple[str, float]] | None:
    """Image ids, each with the probability that it is part of the change, the most drifted first; None: not ranked."""
    key = f"reports/drift/{report['report_id']}.json"
    ranked = json.loads(lake.get(key)).get("drifted") if lake.exists(key) else None
    return None if ranked is None else [(str(image_id), float(share)) for image_id, share in ranked]


class _LookAlikes:
    """The photographs that are labelled, queued or chosen already: a near-duplicate of one teaches nothing new."""

    def __init__(self, lake: Lake, policy: Policy) -> None:
        self._lake, self._limits = lake, policy.data
        self._hashes: list[int] = []
        self._keys: list[str] = []
        self._looks: dict[str, tuple[int, NDArray[Any]]] = {}
        labelled = labelled_photographs(lake)
        labelled |= {p.image_id for queue, _ in queues.all_queues(lake) for p in queue.photographs}
        for row in lake.read("images", columns=["image_id", "key", "phash"]).to_pylist():
            if row["phash"] and row["image_id"] in labelled:
                self._hashes.append(int(row["phash"], 16))
                self._keys.append(row["key"])

    def is_new(self, candidate: QueueCandidate, left_out: Counter[str]) -> bool:
        """Whether no photograph so far looks like it; it counts as one of them from then on."""
        key = candidate.row["photograph_key"]
        try:
            look, mine = self._look(key)
        except (BadImage, ObjectMissing):
            left_out["cannot be read"] += 1
            return False
        near = np.bitwise_count(np.array(self._hashes, np.uint64) ^ np.uint64(look)) <= self._limits.duplicate_hamming
        for index in np.flatnonzero(near):
            if self._repeats(mine, self._keys[index]):
                left_out["near-duplicates"] += 1
                return False
        self._hashes.append(look)
        self._keys.append(key)
        return True

    def _repeats(self, mine: NDArray[Any], key: str) -> bool:
        try:
            other = self._look(key)[1]
        except (BadImage, ObjectMissing):
            return False
        if abs(float(mine.mean() - other.mean())) > _SAME_LIGHT:
            return False
        return correlation(mine, other) >= MIN_CORRELATION

    def _look(self, key: str) -> tuple[int, NDArray[Any]]:
        """The 64-bit hash, and the luma at 32 x 32."""
        if key not in self._looks:
            photograph = decode(
                self._lake.get(key),
                max_bytes=self._limits.max_bytes,
                max_pixels=self._limits.max_pixels,
                min_side=self._limits.min_side_px,
                at_least=FEATURE_PX,
            )
            small, _ = fit_longest(photograph.rgb, FEATURE_PX)
            self._looks[key] = int(phash(small), 16), grey_thumbnail(small)
        return self._looks[key]


def _queued(queue_id: str, candidate: QueueCandidate, priority: int) -> QueuedPhotograph:
    row = candidate.row
    suffix = PurePosixPath(row["photograph_key"]).suffix or ".jpg"
    return QueuedPhotograph(
        image_id=row["image_id"],
        photograph_key=row["photograph_key"],
        upload_key=f"{queues.UPLOADS}/{queue_id}/{row['image_id']}{suffix}",
        priority=priority,
        why=candidate.why,
        source=row["source"],
        camera=row["camera"],
        listing=row["listing"],
        region=row["region"],
        uploader=row["uploader"],
    )


def _reason(
    report: Mapping[str, Any] | None, taken: Sequence[QueueCandidate], answered: int, left_out: Counter[str]
) -> str:
    """One sentence or two: why this queue, and what was chosen and left out."""
    if report is None:
        reason = "By the model's uncertainty, without a drift report"
    elif report["drift"] is None:
        reason = f"Drift report {report['report_id']}: drift was not computed"
    else:
        reason = f"Drift {100 * report['drift']:.1f} % ({report['band']}), worst in {report['worst_feature']}"
    tiers = Counter(c.tier for c in taken)
    names = ((DISPUTED, "disputed"), (DRIFTED, "drifted"), (UNSURE, "unsure"), (REST, "others"))
    chosen = ", ".join(f"{tiers[tier]} {name}" for tier, name in names if tiers[tier]) or "none to label"
    reason = f"{reason}. Of {answered} photographs answered: {chosen}"
    if left_out:
        reason += "; left out: " + ", ".join(f"{n} {why}" for why, n in sorted(left_out.items()))
    return reason + "."


def _finish(lake: Lake, plan: Queue) -> Queue:
    """Copies what the plan lists and is not there yet; the queue's own file last, then the plan goes."""
    pictures: dict[str, bytes] = {}
    kept: list[QueuedPhotograph] = []
    for photograph in plan.photographs:
        try:
            data = lake.get(photograph.photograph_key)
        except ObjectMissing:
            continue  # erased since (forget): it must not come back through the queue
        # The sidecar first: intake reads both together.
        _put_once(lake, str(PurePosixPath(photograph.upload_key).with_suffix(".json")), _sidecar(plan, photograph))
        _put_once(lake, photograph.upload_key, data)
        kept.append(photograph)
        pictures[photograph.image_id] = data
    queue = Queue(plan.queue_id, plan.at, plan.report_id, plan.reason, tuple(kept))
    folder = f"{queues.FOLDER}/{queue.queue_id}"
    lake.put(f"{folder}/queue.csv", sheet_csv(queue))
    lake.put(f"{folder}/contact_sheet.png", contact_sheet(queue, pictures))
    lake.put(queues.queue_key(queue.queue_id), queue.to_json())
    lake.delete(queues.plan_key(queue.queue_id))
    return queue


def _put_once(lake: Lake, key: str, data: bytes) -> None:
    """Rewriting the same bytes would make intake see a new file."""
    if not lake.exists(key) or hashlib.sha256(lake.get(key)).digest() != hashlib.sha256(data).digest():
        lake.put(key, data)


def _sidecar(queue: Queue, photograph: QueuedPhotograph) -> bytes:
    """What intake reads (camera, listing, region, uploader), and for people why the photograph is here."""
    metadata = {
        name: value
        for name in ("camera", "listing", "region", "uploader", "source", "why")
        if (value := getattr(photograph, name)) is not None
    }
    return json.dumps(metadata | {"queue": queue.queue_id}, indent=1).encode()
