"""Precision, recall and F1 at a score threshold. A detection counts when its score is at least the threshold."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from pydantic import BaseModel, ConfigDict

from carsdepo_assets.scoring.boxes import Detections, Truth
from carsdepo_assets.scoring.matching import Flat, Matches, flatten, match, outside_crowds

SWEEP = tuple(round(0.01 * k, 2) for k in range(1, 100))


class Counts(BaseModel):
    """Counts at a threshold, and the figures that follow from them."""

    model_config = ConfigDict(frozen=True)

    tp: int
    """true positives: detections that match a labelled box"""
    fp: int
    """false positives: detections that match none"""
    fn: int
    """false negatives: labelled boxes that no detection matches"""
    precision: float | None
    """tp / (tp + fp); None without a detection"""
    recall: float | None
    """tp / (tp + fn); None without a labelled box"""
    f1: float | None
    """2 tp / (2 tp + fp + fn); None without either"""

    @classmethod
    def of(cls, tp: int, fp: int, fn: int) -> Counts:
        """Computes the figures from the counts."""
        return cls(
            tp=tp,
            fp=fp,
            fn=fn,
            precision=tp / (tp + fp) if tp + fp else None,
            recall=tp / (tp + fn) if tp + fn else None,
            f1=2 * tp / (2 * tp + fp + fn) if tp + fp + fn else None,
        )


class SweepPoint(Counts):
    """Counts at one of several thresholds."""

    threshold: float
    """score at and above which a detection counts"""


def counts(flat: Flat, matches: Matches, threshold: float, class_id: int | None = None) -> Counts:
    """Counts at one threshold. It needs no new matching: detections of lower score never change what others match.

    Args:
        flat: the boxes of all images.
        matches: as `match` gives them for these boxes.
        threshold: score at and above which a detection counts.
        class_id: of this class alone; None: of all classes together.
    """
    kept = flat.det_score >= threshold
    n_truth = len(flat.truth_class)
    if class_id is not None:
        kept &= flat.det_class == class_id
        n_truth = int((flat.truth_class == class_id).sum())
    tp = int((matches.det_truth[kept] >= 0).sum())
    return Counts.of(tp, int(kept.sum()) - tp, n_truth - tp)


def sweep(flat: Flat, matches: Matches, thresholds: Sequence[float] = SWEEP) -> list[SweepPoint]:
    """Counts all classes together at each of several thresholds.

    Args:
        flat: the boxes of all images.
        matches: as `match` gives them for these boxes.
        thresholds: by default 0.01, 0.02 ... 0.99.
    """
    rising = np.sort(flat.det_score)
    rising_hits = np.sort(flat.det_score[matches.det_truth >= 0])
    points = []
    for t in thresholds:
        n = len(rising) - int(np.searchsorted(rising, t, side="left"))
        tp = len(rising_hits) - int(np.searchsorted(rising_hits, t, side="left"))
        at = Counts.of(tp, n - tp, len(flat.truth_image) - tp)
        points.append(SweepPoint(threshold=t, **at.model_dump()))
    return points


WITHOUT_A_MATCH = 0.5
"""The threshold that is taken where no detection matches a labelled box, so that none is better than another."""


def best_threshold(
    truths: Sequence[Truth],
    detections: Sequence[Detections],
    n_classes: int,
    *,
    iou: float = 0.5,
    max_detections: int = 100,
) -> float | None:
    """Finds the threshold with the largest F1 over all classes; of equal ones the highest.

    It lies half-way between the lowest score that it keeps and the next lower one, so that rounding moves no detection
    across it. It must be chosen on other images (val) than those on which the model is then evaluated (test).

    Args:
        truths: labelled boxes, one entry an image.
        detections: detections, one entry an image.
        n_classes: number of classes.
        iou: overlap from which a detection matches a labelled box.
        max_detections: detections of an image and class that count, the best ones.

    Returns:
        The threshold; None where no detection matches a labelled box, so that none is better than another.

    Raises:
        ScoringError: the input does not fit together.
    """
    flat = outside_crowds(flatten(truths, detections, n_classes, max_detections), iou)
    hit = match(flat, iou).det_truth >= 0
    if not hit.any():
        return None
    order = np.argsort(-flat.det_score, kind="stable")
    scores = flat.det_score[order]
    tp = np.cumsum(hit[order])
    f1 = 2 * tp / (np.arange(1, len(tp) + 1) + len(flat.truth_image))
    last = np.r_[scores[1:] != scores[:-1], True]  # equal scores pass a threshold together
    best = int(np.argmax(np.where(last, f1, -1.0)))
    below = scores[best + 1] if best + 1 < len(scores) else 0.0
    return float((scores[best] + below) / 2)
