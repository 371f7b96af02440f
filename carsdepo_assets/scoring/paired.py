"""How two models differ on the same images: whole groups resampled, the same draw for both.

The images' difficulty is common to both models and leaves with the difference, so its interval is narrower than the
two models' own. Boxes are matched once; a draw only changes how often each image counts (as in bootstrap.py).

Recall and precision are compared at a common footing: a number of false alarms a photograph that is the same for both
models and in every draw, the smaller of what the two give at their deployed thresholds, and never under a least one.
Either model reaches it by raising its threshold, so neither is held to scores that it would not show; a model with
fewer false alarms than the least lowers its threshold until it gives them, or counts with all that it has.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from carsdepo_assets.scoring.average_precision import interpolated
from carsdepo_assets.scoring.boxes import Detections, Truth
from carsdepo_assets.scoring.free_response import FreeResponse
from carsdepo_assets.scoring.matching import Flat, ScoringError, flatten, match

_Statistic = Callable[[np.ndarray], float]  # weights (n_images,), how often each image counts; NaN: nothing to score
_CURVE_POINTS = 80


@dataclass(frozen=True)
class Paired:
    """One statistic of two models, 0..1; difference is second - first, low and high its percentile interval.

    None: nothing to score on; low and high also with fewer than 2 groups. resamples: draws that could be scored.
    n_boxes, n_groups: truths, and groups that hold them; of a precision, groups with a detection at the footing, of
    the model that has fewer.
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
class AtFooting:
    """One model. deployed: its threshold in service, deployed_false_alarms what it gives there.

    threshold: the lowest score of which every detection counts at the footing, None where none does. false_alarms: at
    it, less than the footing where the model has no more. curve: (false alarms a photograph, recall of all classes).
    """

    deployed: float
    deployed_false_alarms: float
    threshold: float | None
    false_alarms: float
    curve: tuple[list[float], list[float]]


@dataclass(frozen=True)
class Footing:
    """false_alarms: a photograph, of all classes together, at which recall and precision are compared."""

    false_alarms: float
    first: AtFooting
    second: AtFooting


@dataclass(frozen=True)
class PairedScores:
    """recalls, precisions: by class id at the footing; recall, precision: of all classes there.

    slices: mAP@IoU of the images that a mask selects.
    """

    map50: Paired
    recalls: tuple[Paired, ...]
    precisions: tuple[Paired, ...]
    recall: Paired
    precision: Paired
    footing: Footing
    slices: Mapping[str, Paired] = field(default_factory=dict)


def paired_scores(
    truths: Sequence[Truth],
    first: Sequence[Detections],
    second: Sequence[Detections],
    n_classes: int,
    groups: Sequence[str],
    *,
    thresholds: tuple[float, float],
    least_false_alarms: float = 0.125,
    slices: Mapping[str, np.ndarray] | None = None,
    iou: float = 0.5,
    max_detections: int = 100,
    resamples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> PairedScores:
    """groups: one name an image; slices: a mask (n_images,) each; thresholds: deployed, of first and of second.

    least_false_alarms: a photograph; the footing lies nowhere under it, since a recall at the one or two surest false
    alarms is chance. Percentile bootstrap of the difference (Efron & Tibshirani 1993, ch. 13), clusters drawn whole.
    Raises ScoringError on input that does not fit together.
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
    values = [f(once) for f in figures]
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
        self.froc = FreeResponse(self.flat, self._hit)

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

    def figures(self, false_alarms: float, masks: Sequence[np.ndarray]) -> Callable[[np.ndarray], np.ndarray]:
        """mAP@IoU of each mask, then recall and precision at so many false alarms: by class, then of all classes."""
        maps = [self.map50(mask) for mask in masks]

        def values(weights: np.ndarray) -> np.ndarray:
            point = self.froc.at(false_alarms, weights)
            return np.r_[[value(weights) for value in maps], point.recalls(), point.precisions()]

        return values
