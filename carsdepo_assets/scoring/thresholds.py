"""Precision, recall and F1 at score thresholds. A detection counts when its score is at least the threshold."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from pydantic import BaseModel, ConfigDict

from carsdepo_assets.scoring.boxes import Detections, Truth
from carsdepo_assets.scoring.matching import Flat, Matches, flatten, match

SWEEP = tuple(round(0.01 * k, 2) for k in range(1, 100))


class Counts(BaseModel):
    """precision is None where nothing was detected, recall where nothing was there, f1 where neither was."""

    model_config = ConfigDict(frozen=True)

    tp: int
    fp: int
    fn: int
    precision: float | None
    recall: float | None
    f1: float | None

    @classmethod
    def of(cls, tp: int, fp: int, fn: int) -> Counts:
        return cls(
            tp=tp,
            fp=fp,
            fn=fn,
            precision=tp / (tp + fp) if tp + fp else None,
            recall=tp / (tp + fn) if tp + fn else None,
            f1=2 * tp / (2 * tp + fp + fn) if tp + fp + fn else None,
        )


class SweepPoint(Counts):
    threshold: float


def counts(flat: Flat, matches: Matches, threshold: float, class_id: int | None = None) -> Counts:
    """At one threshold, of all classes or of one. Lower-scored detections never change what higher ones matched."""
    kept = flat.det_score >= threshold
    n_truth = len(flat.truth_class)
    if class_id is not None:
        kept &= flat.det_class == class_id
        n_truth = int((flat.truth_class == class_id).sum())
    tp = int((matches.det_truth[kept] >= 0).sum())
    return Counts.of(tp, int(kept.sum()) - tp, n_truth - tp)


def sweep(flat: Flat, matches: Matches, thresholds: Sequence[float] = SWEEP) -> list[SweepPoint]:
    """All classes together at each threshold."""
    rising = np.sort(flat.det_score)
    rising_hits = np.sort(flat.det_score[matches.det_truth >= 0])
    points = []
    for t in thresholds:
        n = len(rising) - int(np.searchsorted(rising, t, side="left"))
        tp = len(rising_hits) - int(np.searchsorted(rising_hits, t, side="left"))
        at = Counts.of(tp, n - tp, len(flat.truth_image) - tp)
        points.append(SweepPoint(threshold=t, **at.model_dump()))
    return points


def best_threshold(
    truths: Sequence[Truth],
    detections: Sequence[Detections],
    n_classes: int,
    *,
    iou: float = 0.5,
    max_detections: int = 100,
    default: float = 0.5,
) -> float:
    """The threshold with the largest F1 over all classes; of equals the highest. Choose it on val, apply it to test.

    It lies half-way between the last score that it keeps and the next lower one, so rounding moves no detection across.
    `default` where no threshold is better than another: no detection finds a truth.
    """
    flat = flatten(truths, detections, n_classes, max_detections)
    hit = match(flat, iou).det_truth >= 0
    if not hit.any():
        return default
    order = np.argsort(-flat.det_score, kind="stable")
    scores = flat.det_score[order]
    tp = np.cumsum(hit[order])
    f1 = 2 * tp / (np.arange(1, len(tp) + 1) + len(flat.truth_image))
    last = np.r_[scores[1:] != scores[:-1], True]  # equal scores pass a threshold together
    best = int(np.argmax(np.where(last, f1, -1.0)))
    below = scores[best + 1] if best + 1 < len(scores) else 0.0
    return float((scores[best] + below) / 2)
