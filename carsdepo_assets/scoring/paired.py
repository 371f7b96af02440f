"""How two models differ on the same images: whole groups resampled, the same draw for both.

The images' difficulty is common to both models and leaves with the difference, so its interval is narrower than the
two models' own. Boxes are matched once; a draw only changes how often each image counts (as in bootstrap.py).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from carsdepo_assets.scoring.average_precision import interpolated
from carsdepo_assets.scoring.boxes import Detections, Truth
from carsdepo_assets.scoring.matching import Flat, ScoringError, flatten, match

_Statistic = Callable[[np.ndarray], float]  # weights (n_images,), how often each image counts; NaN: nothing to score


@dataclass(frozen=True)
class Paired:
    """One statistic of two models, 0..1; difference is second - first, low and high its percentile interval.

    None: no truth to score on; low and high also with fewer than 2 groups. resamples: draws that held a truth.
    n_boxes, n_groups: truths, and groups that hold them.
    """

    first: float | None
    second: float | None
    difference: float | None
    low: float | None
    high: float | None
    resamples: int
    n_boxes: int
    n_groups: int


@dataclass(frozen=True)
class PairedScores:
    """recalls: by class id, at each model's own threshold. slices: mAP@IoU of the images that a mask selects."""

    map50: Paired
    recalls: tuple[Paired, ...]
    slices: Mapping[str, Paired] = field(default_factory=dict)


def paired_scores(
    truths: Sequence[Truth],
    first: Sequence[Detections],
    second: Sequence[Detections],
    n_classes: int,
    groups: Sequence[str],
    *,
    thresholds: tuple[float, float],
    slices: Mapping[str, np.ndarray] | None = None,
    iou: float = 0.5,
    max_detections: int = 100,
    resamples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> PairedScores:
    """groups: one name an image; slices: a mask (n_images,) each; thresholds: of first and of second.

    Percentile bootstrap of the difference (Efron & Tibshirani 1993, ch. 13), clusters drawn whole. Raises
    ScoringError on input that does not fit together.
    """
    if len(groups) != len(truths):
        raise ScoringError(f"{len(truths)} images, but {len(groups)} group names: give one for each.")
    models = [_Model(truths, d, n_classes, iou, max_detections) for d in (first, second)]
    masks = {name: np.asarray(mask, bool) for name, mask in (slices or {}).items()}
    for name, mask in masks.items():
        if mask.shape != (len(truths),):
            raise ScoringError(f"slice {name}: a mask of shape {mask.shape} for {len(truths)} images.")
    everywhere = np.ones(len(truths), bool)
    pairs: list[tuple[_Statistic, _Statistic]] = [(models[0].map50(everywhere), models[1].map50(everywhere))]
    for c in range(n_classes):
        pairs.append((models[0].recall(c, thresholds[0]), models[1].recall(c, thresholds[1])))
    pairs += [(models[0].map50(mask), models[1].map50(mask)) for mask in masks.values()]

    names, group = np.unique(np.asarray(groups, dtype=str), return_inverse=True)
    n = len(names)
    rng = np.random.default_rng(seed)
    drawn = np.full((len(pairs), resamples if n > 1 else 0), np.nan)
    for r in range(drawn.shape[1]):
        weights = np.bincount(rng.integers(0, n, n), minlength=n)[group].astype(float)
        drawn[:, r] = [b(weights) - a(weights) for a, b in pairs]

    flat = models[0].flat
    held = [np.ones(len(flat.truth_image), bool)]
    held += [flat.truth_class == c for c in range(n_classes)]
    held += [mask[flat.truth_image] for mask in masks.values()]
    once = np.ones(len(truths))
    results = [
        _paired(a(once), b(once), drawn[i], level, int(held[i].sum()), len(np.unique(group[flat.truth_image[held[i]]])))
        for i, (a, b) in enumerate(pairs)
    ]
    by_slice = dict(zip(masks, results[1 + n_classes :], strict=True))
    return PairedScores(results[0], tuple(results[1 : 1 + n_classes]), by_slice)


def _paired(first: float, second: float, drawn: np.ndarray, level: float, n_boxes: int, n_groups: int) -> Paired:
    if np.isnan(first) or np.isnan(second):
        return Paired(None, None, None, None, None, 0, n_boxes, n_groups)
    drawn = drawn[~np.isnan(drawn)]
    low = high = None
    # One group that holds every truth gives the same figure in every draw: no interval, not one of width 0.
    if len(drawn) and n_groups > 1:
        low, high = (float(q) for q in np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2]))
    return Paired(first, second, second - first, low, high, len(drawn) if low is not None else 0, n_boxes, n_groups)


class _Model:
    """One model's detections, matched once, as functions of the images' weights."""

    def __init__(
        self,
        truths: Sequence[Truth],
        detections: Sequence[Detections],
        n_classes: int,
        iou: float,
        max_detections: int,
    ) -> None:
        self.flat: Flat = flatten(truths, detections, n_classes, max_detections)
        self._hit = match(self.flat, iou).det_truth >= 0

    def map50(self, mask: np.ndarray) -> _Statistic:
        """Mean over classes with a truth of AP on the images in the mask."""
        flat = self.flat
        classes = []
        for c in range(flat.n_classes):
            mine = np.flatnonzero((flat.det_class == c) & mask[flat.det_image])
            mine = mine[np.argsort(-flat.det_score[mine], kind="stable")]
            truth = flat.truth_image[(flat.truth_class == c) & mask[flat.truth_image]]
            classes.append((self._hit[mine], flat.det_image[mine], truth))

        def value(weights: np.ndarray) -> float:
            aps = []
            for hit, det_image, truth_image in classes:
                n_truth = weights[truth_image].sum()
                if n_truth:
                    aps.append(interpolated(hit, n_truth, weights[det_image])[0].mean())
            return float(np.mean(aps)) if aps else float("nan")

        return value

    def recall(self, class_id: int, threshold: float) -> _Statistic:
        """Truths of a class that a detection at or above the threshold found, of all."""
        flat, n = self.flat, self.flat.n_images
        kept = self._hit & (flat.det_class == class_id) & (flat.det_score >= threshold)
        found = np.bincount(flat.det_image[kept], minlength=n)
        there = np.bincount(flat.truth_image[flat.truth_class == class_id], minlength=n)

        def value(weights: np.ndarray) -> float:
            n_truth = weights @ there
            return float(weights @ found / n_truth) if n_truth else float("nan")

        return value
