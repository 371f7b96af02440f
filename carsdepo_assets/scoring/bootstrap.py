"""How far mAP@.5 could be off: whole groups (cars) resampled, because photographs of one car resemble each other."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from pydantic import BaseModel, ConfigDict

from carsdepo_assets.scoring.average_precision import interpolated
from carsdepo_assets.scoring.boxes import Detections, Truth
from carsdepo_assets.scoring.matching import ScoringError, flatten, match


class Interval(BaseModel):
    """Percentile bootstrap (Efron & Tibshirani 1993, ch. 13). value: all images once.

    resamples counts those that held a truth; low and high are None with fewer than 2 groups, when nothing can be said.
    """

    model_config = ConfigDict(frozen=True)

    value: float | None
    low: float | None
    high: float | None
    level: float
    resamples: int
    n_groups: int


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
    """groups: one name an image. Boxes are matched once; a resample only changes how often each image counts."""
    if len(groups) != len(truths):
        raise ScoringError(f"{len(truths)} images, but {len(groups)} group names: give one for each.")
    flat = flatten(truths, detections, n_classes, max_detections)
    hit = match(flat, iou).det_truth >= 0
    classes = []
    for c in range(n_classes):
        mine = np.flatnonzero(flat.det_class == c)
        mine = mine[np.argsort(-flat.det_score[mine], kind="stable")]
        classes.append((hit[mine], flat.det_image[mine], flat.truth_image[flat.truth_class == c]))

    def map50(weights: np.ndarray) -> float:
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
