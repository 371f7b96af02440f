"""Scores a day's answers on those of their photographs that people have labelled since."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from typing import Any

import numpy as np

from carsdepo_assets.lake.annotations import labels_only
from carsdepo_assets.lake.label_conflicts import COLUMNS, labels_that_count
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.monitoring.profiles import day_of
from carsdepo_assets.policy import Policy
from carsdepo_assets.scoring.boxes import Detections, Truth
from carsdepo_assets.scoring.matching import flatten, match
from carsdepo_assets.scoring.thresholds import Counts, counts

_XYXY = ("x1", "y1", "x2", "y2")


@dataclass(frozen=True)
class LiveQuality:
    """The quality of one model's answers on one day."""

    day: date
    """UTC."""
    digest: str
    """Of the model."""
    answered: int
    """Photographs that were answered."""
    photographs: int
    """Those of them that have labels now, on which the figures are."""
    boxes: int
    """Labelled damages on them."""
    counts: Counts
    unit: str
    """Names the content: the same answers and labels have the same unit."""

    def row(self, at: datetime) -> dict[str, Any]:
        """A row of the table `live_quality`, measured at this time."""
        figures = self.counts.model_dump()
        return {
            "day": self.day.isoformat(),
            "at": at,
            "digest": self.digest,
            "photographs": self.photographs,
            "answered": self.answered,
            "boxes": self.boxes,
            **figures,
        }


def measure_day(lake: Lake, day: date, policy: Policy) -> list[LiveQuality]:
    """Scores the answers of production on one day.

    The last answer on a photograph counts, and the labels that datasets count (lake/label_conflicts.py). Boxes count
    from the threshold on at which they were served; they match labels at an IoU of policy.evaluation.iou.

    Args:
        lake: where answers and labels are.
        day: UTC.
        policy: the sections `evaluation` and `data` (conflicts) are used.

    Returns:
        One entry for each model that answered on the day, also where nothing is labelled; most answers first.
    """
    ids = day_of(lake, day)["prediction_id"].to_pylist()
    if not ids:
        return []
    answers = _answers(lake, set(ids))
    labels = _labels_that_count(lake, {row["image_id"] for row in answers}, policy)
    by_model: dict[str, dict[str, Mapping[str, Any]]] = {}
    for row in answers:
        by_model.setdefault(row["digest"], {})[row["image_id"]] = row
    qualities = [_scored(day, digest, list(rows.values()), labels, policy) for digest, rows in by_model.items()]
    return sorted(qualities, key=lambda q: (-q.answered, q.digest))


def store(lake: Lake, qualities: Sequence[LiveQuality], at: datetime) -> int:
    """Appends the qualities that have labels and are not stored yet; returns their number."""
    return sum(lake.append("live_quality", [q.row(at)], q.unit) for q in qualities if q.photographs)


def labelled_days(lake: Lake, since: date) -> dict[date, str]:
    """Finds the days whose answers have labels.

    Args:
        lake: where answers and labels are.
        since: the first day (UTC) that is looked at.

    Returns:
        {UTC day: state of its labels}. The state changes when an answered photograph gets another revision of its
        labels, or a labelled one another answer. Days without any label are left out.
    """
    state = (lake.version("inferences"), lake.version("annotations"), since)
    counted = _counted.get(lake.url)
    if counted is None or counted[0] != state:
        counted = _counted[lake.url] = (state, _labelled_days(lake, since))
    return counted[1]


# (versions of the tables and first day, what was counted for them) by lake: a tick without news does not count again.
_counted: dict[str, tuple[tuple[int, int, date], dict[date, str]]] = {}


def _labelled_days(lake: Lake, since: date) -> dict[date, str]:
    start = datetime.combine(since, time(), UTC)
    answers = lake.read("inferences", ["image_id", "at", "stage"], [("at", ">=", start), ("stage", "=", "production")])
    if not answers.num_rows:
        return {}
    rows = lake.query(
        "SELECT CAST(i.at AS DATE) AS day, count(*) AS n, max(a.sequence) AS newest FROM answers i "
        "JOIN labels a ON a.image_id = i.image_id GROUP BY ALL ORDER BY 1",
        answers=answers,
        labels=labels_only(lake.read("annotations", columns=["image_id", "key", "sequence", "state"])),
    ).to_pylist()
    return {r["day"]: f"{r['n']}-{r['newest']}" for r in rows}


def _answers(lake: Lake, ids: set[str]) -> list[dict[str, Any]]:
    """Oldest first, so that of two answers on a photograph the later stays."""
    columns = ["prediction_id", "at", "digest", "image_id", "threshold", "boxes"]
    table = lake.read("inferences", columns, [("prediction_id", "in", ids)])
    return list(table.sort_by([("at", "ascending"), ("prediction_id", "ascending")]).to_pylist())


def _labels_that_count(lake: Lake, wanted: set[str], policy: Policy) -> dict[str, dict[str, Any]]:
    table = lake.read("annotations", COLUMNS, [("image_id", "in", wanted)])
    return {row["image_id"]: row for row in labels_that_count(table, policy).rows.to_pylist()}


def _scored(
    day: date,
    digest: str,
    rows: Sequence[Mapping[str, Any]],
    labels: Mapping[str, Mapping[str, Any]],
    policy: Policy,
) -> LiveQuality:
    labelled = sorted((r for r in rows if r["image_id"] in labels), key=lambda r: r["image_id"])
    truths = [_truth(labels[r["image_id"]]["boxes"] or []) for r in labelled]
    predictions = [_served(r) for r in labelled]
    kinds = np.concatenate([np.zeros(1, np.int64), *(t.classes for t in truths), *(f.classes for f in predictions)])
    flat = flatten(truths, predictions, int(kinds.max()) + 1, policy.evaluation.max_detections)
    scored_ids = [(r["prediction_id"], labels[r["image_id"]]["revision_id"]) for r in labelled]
    content = hashlib.sha256(repr((len(rows), scored_ids, policy.evaluation.iou)).encode()).hexdigest()[:16]
    return LiveQuality(
        day=day,
        digest=digest,
        answered=len(rows),
        photographs=len(labelled),
        boxes=len(flat.truth_class),
        counts=counts(flat, match(flat, policy.evaluation.iou), 0.0),
        unit=f"{day.isoformat()}:{digest}:{content}",
    )


def _truth(boxes: Sequence[Mapping[str, Any]]) -> Truth:
    xyxy = np.array([[b[k] for k in _XYXY] for b in boxes], float).reshape(-1, 4)
    return Truth(xyxy, np.array([b["class_id"] for b in boxes], np.int64))


def _served(row: Mapping[str, Any]) -> Detections:
    boxes = [b for b in row["boxes"] or [] if b["score"] >= row["threshold"]]
    truth = _truth(boxes)
    return Detections(truth.xyxy, np.array([b["score"] for b in boxes], float), truth.classes)
