"""Boxes of one image, as arrays: the currency between detectors, service and evaluation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Truth:
    """What is on an image: xyxy (N, 4) float64 in its pixels, half-open; classes (N,) int64. N may be 0."""

    xyxy: np.ndarray
    classes: np.ndarray

    def __len__(self) -> int:
        return len(self.classes)


@dataclass(frozen=True)
class Detections:
    """What a detector says: xyxy (N, 4) float64 in the image's pixels, scores (N,) 0..1, classes (N,) int64."""

    xyxy: np.ndarray
    scores: np.ndarray
    classes: np.ndarray

    def __len__(self) -> int:
        return len(self.scores)
