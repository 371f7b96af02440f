"""Flips, crops and light of recipes that declare no augmentation, as trainings had them before there was a policy.

Models of such recipes are made again by it, bit for bit. `imaging.augmentation` is what recipes declare.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class FormerAugmentation:
    """How training images are varied."""

    flip: float = 0.5
    """Chance of a horizontal flip, of 1."""
    crop: float = 0.5
    """Chance of a crop, of 1."""
    crop_min: float = 0.55
    """Shortest side of a crop as a share of the image's side."""
    gain: float = 0.25
    """Largest change of contrast and light, of 1."""
    min_visible: float = 0.4
    """Share of a box's area that a crop must keep for the box to stay a label."""


def visible_boxes(
    xyxy: NDArray[np.float64], classes: NDArray[np.int64], window: tuple[int, int, int, int], min_visible: float
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Moves boxes into a window of the image and clips them to it.

    Args:
        xyxy: Boxes in the image's pixels, (N, 4).
        classes: Their class ids, (N,).
        window: x, y, width and height of the window, in the image's pixels.
        min_visible: Boxes that keep less than this share of their area are left out.

    Returns:
        The boxes that stay, in the window's pixels, and their class ids.
    """
    x, y, w, h = window
    moved = xyxy - np.array([x, y, x, y])
    clipped = np.clip(moved, 0, np.array([w, h, w, h]))
    before = (moved[:, 2] - moved[:, 0]) * (moved[:, 3] - moved[:, 1])
    sides = clipped[:, 2:] - clipped[:, :2]
    keep = (sides >= 1).all(axis=1) & (sides.prod(axis=1) >= min_visible * before)
    return clipped[keep], classes[keep]


def formerly_augmented(
    rgb: NDArray[np.uint8],
    xyxy: NDArray[np.float64],
    classes: NDArray[np.int64],
    how: FormerAugmentation,
    random: np.random.Generator,
) -> tuple[NDArray[np.uint8], NDArray[np.float64], NDArray[np.int64]]:
    """Crops, flips and relights a training image, each by its chance.

    Args:
        rgb: The image, HxWx3.
        xyxy: Its boxes, (N, 4), in pixels.
        classes: Their class ids, (N,).
        how: The chances and strengths.
        random: The source of chance.

    Returns:
        The new image, the boxes in its pixels and their class ids.
    """
    height, width = rgb.shape[:2]
    if random.random() < how.crop:
        share = random.uniform(how.crop_min, 1.0, size=2)
        w, h = max(1, int(width * share[0])), max(1, int(height * share[1]))
        x, y = int(random.integers(0, width - w + 1)), int(random.integers(0, height - h + 1))
        kept, kept_classes = visible_boxes(xyxy, classes, (x, y, w, h), how.min_visible)
        if len(kept) or not len(xyxy):  # a crop that loses all damage teaches nothing about it
            rgb, xyxy, classes = rgb[y : y + h, x : x + w], kept, kept_classes
    if random.random() < how.flip:
        rgb = rgb[:, ::-1]
        xyxy = np.column_stack((rgb.shape[1] - xyxy[:, 2], xyxy[:, 1], rgb.shape[1] - xyxy[:, 0], xyxy[:, 3]))
    if how.gain:
        contrast, light = random.uniform(1 - how.gain, 1 + how.gain, size=2)
        mean = float(rgb.mean())
        rgb = cv2.convertScaleAbs(np.ascontiguousarray(rgb), alpha=contrast, beta=mean * (light - contrast))
    return np.ascontiguousarray(rgb), xyxy, classes
