"""The boxes of one image as arrays: what detectors, service and evaluation exchange."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Truth:
    """The labelled boxes of one image. There may be none."""

    xyxy: NDArray[np.float64]
    """(N, 4), corners x1, y1, x2, y2 in the image's pixels, half-open"""
    classes: NDArray[np.int64]
    """(N,), class ids"""
    crowd: NDArray[np.bool_] | None = None
    """(N,), which boxes are crowd regions of COCO: a detection in one is neither right nor wrong; None: none of them"""

    def __len__(self) -> int:
        """The number of boxes."""
        return len(self.classes)


@dataclass(frozen=True)
class Detections:
    """The boxes that a detector gives for one image. There may be none."""

    xyxy: NDArray[np.float64]
    """(N, 4), corners x1, y1, x2, y2 in the image's pixels, half-open"""
    scores: NDArray[np.float64]
    """(N,), 0..1"""
    classes: NDArray[np.int64]
    """(N,), class ids"""

    def __len__(self) -> int:
        """The number of boxes."""
        return len(self.scores)


def pairwise_iou(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """Computes the intersection over union of each box of `a` with each box of `b`.

    Args:
        a: (n, 4), corners x1, y1, x2, y2.
        b: (m, 4), likewise.

    Returns:
        (n, m); 0 where both boxes have no area.
    """
    sides = np.minimum(a[:, None, 2:], b[None, :, 2:]) - np.maximum(a[:, None, :2], b[None, :, :2])
    shared = np.clip(sides, 0, None).prod(axis=2)
    areas = [(x[:, 2] - x[:, 0]) * (x[:, 3] - x[:, 1]) for x in (a, b)]
    union = areas[0][:, None] + areas[1][None, :] - shared
    return np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
