"""The free-response ROC curve (FROC): recall against false alarms a photograph, as the threshold falls.

Bunch, Hamilton, Sanderson and Simmons (1978), "A free-response approach to the measurement and characterization of
radiographic-observer performance"; Chakraborty (1989), "Maximum likelihood analysis of free-response receiver
operating characteristic (FROC) data". Two models that each have a threshold of their own are compared fairly at the
same number of false alarms a photograph, since a threshold means something in one model only.

A false alarm is a detection that matches no labelled box of its class at the IoU of the matching, as in precision.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from carsdepo_assets.scoring.matching import Flat

_ROUNDING = 1e-9  # of a count of false alarms: 0.12 a photograph on 100 of them are 12


@dataclass(frozen=True)
class OperatingPoint:
    """A model at a given number of false alarms a photograph.

    Counts may be fractional: images have weights, and a point may lie between two scores.
    """

    threshold: float | None
    """the lowest score of which every detection counts; None where none does"""
    false_alarms: float
    """a photograph; fewer than asked for where the model never gives so many"""
    true_positives: NDArray[np.float64]
    """(n_classes,), detections that match a labelled box"""
    false_positives: NDArray[np.float64]
    """(n_classes,), detections that match none"""
    truths: NDArray[np.float64]
    """(n_classes,), labelled boxes"""

    def recalls(self) -> NDArray[np.float64]:
        """Returns recall by class id, then of all classes together: (n_classes + 1,); NaN without a labelled box."""
        return _ratio(_with_all(self.true_positives), _with_all(self.truths))

    def precisions(self) -> NDArray[np.float64]:
        """Returns precision by class id, then of all classes together: (n_classes + 1,); NaN without a detection."""
        return _ratio(_with_all(self.true_positives), _with_all(self.true_positives + self.false_positives))


class FreeResponse:
    """The FROC curve of one model.

    Args:
        flat: the boxes of all images.
        hit: (n_det,), whether each detection of `flat` matches a labelled box.
    """

    def __init__(self, flat: Flat, hit: NDArray[np.bool_]) -> None:
        order = np.argsort(-flat.det_score, kind="stable")
        self._score, self._hit = flat.det_score[order], hit[order]
        self._class, self._image = flat.det_class[order], flat.det_image[order]
        # Equal scores pass a threshold together: a point of the curve is where the score changes.
        self._last = np.flatnonzero(np.r_[self._score[1:] != self._score[:-1], np.ones(len(order[:1]), bool)])
        self._n_classes, self._n_images = flat.n_classes, flat.n_images
        key = flat.truth_class * flat.n_images + flat.truth_image
        self._there = np.bincount(key, minlength=flat.n_classes * flat.n_images).reshape(flat.n_classes, flat.n_images)

    def false_alarms_at(self, threshold: float) -> float:
        """Returns the false alarms a photograph of the detections with at least this score; 0 without photographs."""
        wrong = int((~self._hit & (self._score >= threshold)).sum())
        return wrong / self._n_images if self._n_images else 0.0

    def at(self, false_alarms: float, weights: NDArray[np.float64] | None = None) -> OperatingPoint:
        """Returns the point of the curve at a number of false alarms a photograph.

        The threshold falls as long as there are no more than these; equal scores pass it together. What is missing to
        the exact number is taken from the step to the next lower score in proportion, as on a straight line between
        two points of the curve. A model that never gives so many false alarms counts with all its detections.

        Args:
            false_alarms: a photograph.
            weights: (n_images,), how often each image counts; None: once.
        """
        one = np.ones(self._n_images) if weights is None else weights
        each = one[self._image]
        budget = false_alarms * one.sum()
        wrong_until = np.cumsum(each * ~self._hit)[self._last]
        k = int(np.searchsorted(wrong_until, budget + _ROUNDING, side="right")) - 1
        end = int(self._last[k]) + 1 if k >= 0 else 0
        hits, false = self._counts(slice(0, end), each)
        if k + 1 < len(self._last):
            before = float(wrong_until[k]) if k >= 0 else 0.0
            share = max(0.0, budget - before) / (float(wrong_until[k + 1]) - before)
            more_hits, more_false = self._counts(slice(end, int(self._last[k + 1]) + 1), each)
            hits, false = hits + share * more_hits, false + share * more_false
        total = one.sum()
        return OperatingPoint(
            threshold=float(self._score[end - 1]) if end else None,
            false_alarms=float(false.sum() / total) if total else 0.0,
            true_positives=hits,
            false_positives=false,
            truths=self._there @ one,
        )

    def groups_at(self, threshold: float | None, group: NDArray[np.int64]) -> NDArray[np.int64]:
        """Counts the groups that have a detection of at least this score.

        Args:
            threshold: the score; None: no detection counts.
            group: (n_images,), the group of each image as a number.

        Returns:
            (n_classes + 1,), by class id, then of any class.
        """
        kept = self._score >= (np.inf if threshold is None else threshold)
        of = [kept & (self._class == c) for c in range(self._n_classes)] + [kept]
        return np.array([len(np.unique(group[self._image[mask]])) for mask in of])

    def curve(self, points: int) -> tuple[list[float], list[float]]:
        """Returns the curve over all classes, from the highest score down, for a chart.

        Args:
            points: how many points it has at most.

        Returns:
            False alarms a photograph, and recall; both empty without detections or labelled boxes.
        """
        n_truth = int(self._there.sum())
        if not len(self._last) or not n_truth or not self._n_images:
            return [], []
        false_alarms = np.r_[0.0, np.cumsum(~self._hit)[self._last] / self._n_images]
        recall = np.r_[0.0, np.cumsum(self._hit)[self._last] / n_truth]
        # Few false alarms are where models differ and people look: half of the points by recall, half by false alarms.
        by_recall = np.searchsorted(recall, np.linspace(0, recall[-1], points // 2))
        by_alarms = np.searchsorted(false_alarms, np.linspace(0, false_alarms[-1], points // 2))
        at = np.unique(np.clip(np.r_[by_recall, by_alarms], 0, len(recall) - 1))
        return false_alarms[at].round(5).tolist(), recall[at].round(5).tolist()

    def _counts(self, part: slice, each: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        kind, weight, hit = self._class[part], each[part], self._hit[part]
        # With weights the counts are float64 already; numpy's type stubs take them for integers.
        hits = np.asarray(np.bincount(kind, weights=weight * hit, minlength=self._n_classes), np.float64)
        return hits, np.asarray(np.bincount(kind, weights=weight * ~hit, minlength=self._n_classes), np.float64)


def _with_all(by_class: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.r_[by_class, by_class.sum()]


def _ratio(part: NDArray[np.float64], whole: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.divide(part, whole, out=np.full(len(whole), np.nan), where=whole > 0)
