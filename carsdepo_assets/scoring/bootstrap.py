"""The confidence interval of mAP@.5, by bootstrap over groups of images.

Whole groups (cars) are resampled, because photographs of one car resemble each other.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from carsdepo_assets.scoring.average_precision import interpolated
from carsdepo_assets.scoring.boxes import Detections, Truth
from carsdepo_assets.scoring.matching import ScoringError, flatten, match


class Interval(BaseModel):
    """A figure and its confidence interval, by percentile bootstrap (Efron & Tibshirani 1993, chapter 13)."""

    model_config = ConfigDict(frozen=True)

    value: float | None
    """of all images, each counted once; None without a labelled box"""
    low: float | None
    """lower end; None where it cannot be computed, as with fewer than 2 groups"""
    high: float | None
    """upper end; None like `low`"""
    level: float
    """confidence level, 0..1"""
    resamples: int
    """how many resamples held a labelled box, and so count"""
    n_groups: int
    """how many groups there are"""


def bootstrap_map50(
    truths: Sequence[Truth],
    detections: Sequence[Detections],
    n_classes: int,
    groups: Sequence[str],
    *,
    iou: float = 0.5,
    max_detections: int = 100,
    resamples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Computes mAP@IoU of all images and its confidence interval.

    Boxes are matched once; a resample only changes how often each image counts.

    Args:
        truths: labelled boxes, one entry an image.
        detections: detections, one entry an image.
        n_classes: number of classes.
        groups: name of each image's group.
        iou: overlap from which a detection matches a labelled box.
        max_detections: detections of an image and class that count, the best ones.
        resamples: how many times groups are drawn.
        level: confidence level, 0..1.
        seed: of the draws; the same seed gives the same interval.

    Raises:
        ScoringError: the input does not fit together.
    """
    if len(groups) != len(truths):
        raise ScoringError(f"{len(truths)} images, but {len(groups)} group names: give one for each.")
    flat = flatten(truths, detections, n_classes, max_detections)
    hit = match(flat, iou).det_truth >= 0
    classes = []
    for c in range(n_classes):
        mine = np.flatnonzero(flat.det_class == c)
        mine = mine[np.argsort(-flat.det_score[mine], kind="stable")]
        classes.append((hit[mine], flat.det_image[mine], flat.truth_image[flat.truth_class == c]))

    def map50(weights: NDArray[np.float64]) -> float:
        aps = []
        for hits, det_image, truth_image in classes:
            n_truth = weights[truth_image].sum()
            if n_truth:
                aps.append(interpolated(hits, n_truth, weights[det_image])[0].mean())
        return float(np.mean(aps)) if aps else np.nan

    names, group = np.unique(np.asarray(groups, dtype=str), return_inverse=True)
    whole = map50(np.ones(flat.n_images))
    value = None if np.isnan(whole) else whole
    n = len(names)
    if n < 2 or value is None:
        return Interval(value=value, low=None, high=None, level=level, resamples=0, n_groups=n)
    rng = np.random.default_rng(seed)
    drawn = np.array(
        [map50(np.bincount(rng.integers(0, n, n), minlength=n)[group].astype(float)) for _ in range(resamples)]
    )
    drawn = drawn[~np.isnan(drawn)]
    if not len(drawn):
        return Interval(value=value, low=None, high=None, level=level, resamples=0, n_groups=n)
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return Interval(value=value, low=float(low), high=float(high), level=level, resamples=len(drawn), n_groups=n)
