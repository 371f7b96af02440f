"""Compares two models on the same images, with confidence intervals of the differences, by paired bootstrap.

Whole groups of images are resampled, and each draw counts for both models. What makes images difficult is common to
both and cancels in the difference, so its interval is narrower than those of the two models by themselves. Boxes are
matched once; a draw only changes how often each image counts, as in bootstrap.py.

Recall and precision are compared at a common footing: the same number of false alarms a photograph for both models and
in every draw. It is the smaller of what the two give at their deployed thresholds, but never below a given least. So
each model reaches it by raising its threshold, and none is judged by scores that it would not show in service; only a
model with fewer false alarms than the least lowers its threshold until it gives them, or counts with all detections.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from carsdepo_assets.scoring.average_precision import interpolated
from carsdepo_assets.scoring.boxes import Detections, Truth
from carsdepo_assets.scoring.free_response import FreeResponse
from carsdepo_assets.scoring.matching import Flat, ScoringError, flatten, match

# A figure as a function of (n_images,) weights, how often each image counts; NaN where there is nothing to score.
_Statistic = Callable[[NDArray[np.float64]], float]
_CURVE_POINTS = 80


@dataclass(frozen=True)
class Paired:
    """One figure of two models and its difference, each 0..1. None where there is nothing to score on."""

    first: float | None
    """of the first model"""
    second: float | None
    """of the second model"""
    difference: float | None
    """second - first"""
    low: float | None
    """lower end of the difference's interval; None also with fewer than 2 groups"""
    high: float | None
    """upper end; None like `low`"""
    resamples: int
    """how many draws could be scored"""
    n_boxes: int
    """labelled boxes that the figure rests on"""
    n_groups: int
    """groups that hold them; of a precision: groups with a detection at the footing, of the model that has fewer"""


@dataclass(frozen=True)
class AtFooting:
    """One model at the common footing."""

    deployed: float
    """its threshold in service"""
    deployed_false_alarms: float
    """false alarms a photograph that it gives at that threshold"""
    threshold: float | None
    """the lowest score of which every detection counts at the footing; None where none does"""
    false_alarms: float
    """false alarms a photograph at the footing; fewer than the footing's where the model never gives so many"""
    curve: tuple[list[float], list[float]]
    """its FROC curve: false alarms a photograph, and recall of all classes together"""


@dataclass(frozen=True)
class Footing:
    """The false alarms a photograph at which recall and precision of two models are compared."""

    false_alarms: float
    """a photograph, of all classes together"""
    first: AtFooting
    """the first model there"""
    second: AtFooting
    """the second model there"""


@dataclass(frozen=True)
class PairedScores:
    """Every figure by which two models are compared."""

    map50: Paired
    """mAP at the IoU of the comparison"""
    recalls: tuple[Paired, ...]
    """at the footing, by class id"""
    precisions: tuple[Paired, ...]
    """at the footing, by class id"""
    recall: Paired
    """at the footing, of all classes together"""
    precision: Paired
    """at the footing, of all classes together"""
    footing: Footing
    """where recall and precision are compared"""
    slices: Mapping[str, Paired] = field(default_factory=dict)
    """mAP of the images of each slice, by name"""


def paired_scores(
    truths: Sequence[Truth],
    first: Sequence[Detections],
    second: Sequence[Detections],
    n_classes: int,
    groups: Sequence[str],
    *,
    thresholds: tuple[float, float],
    least_false_alarms: float = 0.125,
    slices: Mapping[str, NDArray[np.bool_]] | None = None,
    iou: float = 0.5,
    max_detections: int = 100,
    resamples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> PairedScores:
    """Compares two models by percentile bootstrap of the difference (Efron & Tibshirani 1993, chapter 13).

    Args:
        truths: labelled boxes, one entry an image.
        first: detections of the first model, one entry an image.
        second: detections of the second model.
        n_classes: number of classes.
        groups: name of each image's group; groups are drawn whole.
        thresholds: deployed, of the first and of the second model.
        least_false_alarms: a photograph; the footing is never below it, since recall at the one or two false alarms
            with the highest scores is chance.
        slices: name of a slice -> (n_images,) mask of its images.
        iou: overlap from which a detection matches a labelled box.
        max_detections: detections of an image and class that count, the best ones.
        resamples: how many times groups are drawn.
        level: confidence level, 0..1.
        seed: of the draws; the same seed gives the same intervals.

    Raises:
        ScoringError: the input does not fit together.
    """
    if len(groups) != len(truths):
        raise ScoringError(f"{len(truths)} images, but {len(groups)} group names: give one for each.")
    models = [_Model(truths, d, n_classes, iou, max_detections) for d in (first, second)]
    masks = {name: np.asarray(mask, bool) for name, mask in (slices or {}).items()}
    for name, mask in masks.items():
        if mask.shape != (len(truths),):
            raise ScoringError(f"slice {name}: a mask of shape {mask.shape} for {len(truths)} images.")
    names, group = np.unique(np.asarray(groups, dtype=str), return_inverse=True)
    deployed = [m.froc.false_alarms_at(t) for m, t in zip(models, thresholds, strict=True)]
    footing = max(least_false_alarms, min(deployed))
    figures = [m.figures(footing, [np.ones(len(truths), bool), *masks.values()]) for m in models]

    n = len(names)
    rng = np.random.default_rng(seed)
    once = np.ones(len(truths))
    values = [f(once).tolist() for f in figures]  # numpy's own booleans of a comparison would be neither True nor False
    drawn = np.full((resamples if n > 1 else 0, len(values[0])), np.nan)
    for row in drawn:
        weights = np.bincount(rng.integers(0, n, n), minlength=n)[group].astype(float)
        row[:] = figures[1](weights) - figures[0](weights)

    flat = models[0].flat
    points = [m.froc.at(footing) for m in models]
    held = [np.ones(len(flat.truth_image), bool), *(mask[flat.truth_image] for mask in masks.values())]
    held += [flat.truth_class == c for c in range(n_classes)] + held[:1]
    boxes = [int(h.sum()) for h in held]
    in_groups = [len(np.unique(group[flat.truth_image[h]])) for h in held]
    with_detections = [m.froc.groups_at(p.threshold, group) for m, p in zip(models, points, strict=True)]
    boxes += boxes[-n_classes - 1 :]
    in_groups += np.minimum(*with_detections).tolist()
    results = [
        _paired(a, b, drawn[:, i], level, boxes[i], in_groups[i]) for i, (a, b) in enumerate(zip(*values, strict=True))
    ]
    recalls, precisions = results[-2 * n_classes - 2 : -n_classes - 1], results[-n_classes - 1 :]
    sides = [
        AtFooting(t, f, p.threshold, p.false_alarms, m.froc.curve(_CURVE_POINTS))
        for m, t, f, p in zip(models, thresholds, deployed, points, strict=True)
    ]
    return PairedScores(
        map50=results[0],
        recalls=tuple(recalls[:-1]),
        precisions=tuple(precisions[:-1]),
        recall=recalls[-1],
        precision=precisions[-1],
        footing=Footing(footing, sides[0], sides[1]),
        slices=dict(zip(masks, results[1:], strict=False)),
    )


def _paired(
    first: float, second: float, drawn: NDArray[np.float64], level: float, n_boxes: int, n_groups: int
) -> Paired:
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
        self.froc = FreeResponse(self.flat, self._hit)

    def map50(self, mask: NDArray[np.bool_]) -> _Statistic:
        """Mean over classes with a truth of AP on the images in the mask."""
        flat = self.flat
        classes = []
        for c in range(flat.n_classes):
            mine = np.flatnonzero((flat.det_class == c) & mask[flat.det_image])
            mine = mine[np.argsort(-flat.det_score[mine], kind="stable")]
            truth = flat.truth_image[(flat.truth_class == c) & mask[flat.truth_image]]
            classes.append((self._hit[mine], flat.det_image[mine], truth))

        def value(weights: NDArray[np.float64]) -> float:
            aps = []
            for hit, det_image, truth_image in classes:
                n_truth = weights[truth_image].sum()
                if n_truth:
                    aps.append(interpolated(hit, n_truth, weights[det_image])[0].mean())
            return float(np.mean(aps)) if aps else float("nan")

        return value

    def figures(
        self, false_alarms: float, masks: Sequence[NDArray[np.bool_]]
    ) -> Callable[[NDArray[np.float64]], NDArray[np.float64]]:
        """mAP of each mask's images, then recall and precision at these false alarms: by class, then of all classes."""
        maps = [self.map50(mask) for mask in masks]

        def values(weights: NDArray[np.float64]) -> NDArray[np.float64]:
            point = self.froc.at(false_alarms, weights)
            return np.r_[[value(weights) for value in maps], point.recalls(), point.precisions()]

        return values
