"""Boxes found against false alarms a photograph, as the threshold falls: the free-response ROC curve (FROC).

Bunch, Hamilton, Sanderson and Simmons (1978), "A free-response approach to the measurement and characterization of
radiographic-observer performance"; Chakraborty (1989), "Maximum likelihood analysis of free-response receiver
operating characteristic (FROC) data". Two models that each have a threshold of their own are compared fairly at the
same number of false alarms a photograph, since a threshold means something in one model only.

A false alarm is every detection that finds no truth of its class at the IoU of the matching, as in precision.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from carsdepo_assets.scoring.matching import Flat

_ROUNDING = 1e-9  # of a count of false alarms: 0.12 a photograph on 100 of them are 12


@dataclass(frozen=True)
class OperatingPoint:
    """A model at a number of false alarms a photograph.

    threshold: the lowest score of which every detection counts; None where none does. false_alarms: a photograph, less
    than was asked for where the model has no more. true_positives, false_positives: detections by class id,
    (n_classes,) each, as counts that images' weights and interpolation make fractional. truths: by class id.
    """

    threshold: float | None
    false_alarms: float
    true_positives: np.ndarray
    false_positives: np.ndarray
    truths: np.ndarray

    def recalls(self) -> np.ndarray:
        """(n_classes + 1,): by class id, then of all classes together; NaN without a truth."""
        return _ratio(_with_all(self.true_positives), _with_all(self.truths))

    def precisions(self) -> np.ndarray:
        """(n_classes + 1,): by class id, then of all classes together; NaN without a detection."""
        return _ratio(_with_all(self.true_positives), _with_all(self.true_positives + self.false_positives))


class FreeResponse:
    """The curve of one model whose detections are matched. hit (n_det,): whether each of flat's found a truth."""

    def __init__(self, flat: Flat, hit: np.ndarray) -> None:
        order = np.argsort(-flat.det_score, kind="stable")
        self._score, self._hit = flat.det_score[order], hit[order]
        self._class, self._image = flat.det_class[order], flat.det_image[order]
        # Equal scores pass a threshold together: a point of the curve is where the score changes.
        self._last = np.flatnonzero(np.r_[self._score[1:] != self._score[:-1], np.ones(len(order[:1]), bool)])
        self._n_classes, self._n_images = flat.n_classes, flat.n_images
        key = flat.truth_class * flat.n_images + flat.truth_image
        self._there = np.bincount(key, minlength=flat.n_classes * flat.n_images).reshape(flat.n_classes, flat.n_images)

    def false_alarms_at(self, threshold: float) -> float:
        """A photograph, of the detections with at least this score; 0 without a photograph."""
        wrong = int((~self._hit & (self._score >= threshold)).sum())
        return wrong / self._n_images if self._n_images else 0.0

    def at(self, false_alarms: float, weights: np.ndarray | None = None) -> OperatingPoint:
        """The point at so many false alarms a photograph; weights (n_images,): how often each image counts.

        The threshold falls as long as no more than these are given; equal scores pass together. What is left to the
        exact number is taken from the step to the next lower score in proportion, as on a line between two points of
        the curve (each detection of that score counts with the same probability). A model that never gives so many
        counts with all its detections: its curve goes on level.
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

    def groups_at(self, threshold: float | None, group: np.ndarray) -> np.ndarray:
        """(n_classes + 1,): groups with a detection of at least this score, by class id, then of any class.

        group (n_images,): each image's group as a number.
        """
        kept = self._score >= (np.inf if threshold is None else threshold)
        of = [kept & (self._class == c) for c in range(self._n_classes)] + [kept]
        return np.array([len(np.unique(group[self._image[mask]])) for mask in of])

    def curve(self, points: int) -> tuple[list[float], list[float]]:
        """False alarms a photograph and recall over all classes, from the highest score down; at most `points` each."""
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

    def _counts(self, part: slice, each: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        kind, weight, hit = self._class[part], each[part], self._hit[part]
        hits = np.bincount(kind, weights=weight * hit, minlength=self._n_classes)
        return hits, np.bincount(kind, weights=weight * ~hit, minlength=self._n_classes)


def _with_all(by_class: np.ndarray) -> np.ndarray:
    return np.r_[by_class, by_class.sum()]


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.divide(part, whole, out=np.full(len(whole), np.nan), where=whole > 0)
