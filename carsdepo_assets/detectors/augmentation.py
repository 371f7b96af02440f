"""Flips, crops and light for training: image and boxes in, a square image and its boxes out."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from carsdepo_assets.imaging.resize import letterbox


@dataclass(frozen=True)
class Augmentation:
    """Chances 0..1; crop_min: shortest side of a crop as a share of the image's; gain: largest change of light."""

    flip: float = 0.5
    crop: float = 0.5
    crop_min: float = 0.55
    gain: float = 0.25
    min_visible: float = 0.4  # share of a box's area that a crop must keep for the box to count


def visible_boxes(
    xyxy: np.ndarray, classes: np.ndarray, window: tuple[int, int, int, int], min_visible: float
) -> tuple[np.ndarray, np.ndarray]:
    """Boxes (N, 4) in the window's frame, clipped to it; without those that keep under min_visible of their area."""
    x, y, w, h = window
    moved = xyxy - np.array([x, y, x, y])
    clipped = np.clip(moved, 0, np.array([w, h, w, h]))
    before = (moved[:, 2] - moved[:, 0]) * (moved[:, 3] - moved[:, 1])
    sides = clipped[:, 2:] - clipped[:, :2]
    keep = (sides >= 1).all(axis=1) & (sides.prod(axis=1) >= min_visible * before)
    return clipped[keep], classes[keep]


def augment(
    rgb: np.ndarray, xyxy: np.ndarray, classes: np.ndarray, how: Augmentation, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Crop, flip, light, each by its chance. Boxes in the pixels of the image that comes back."""
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


def to_square(rgb: np.ndarray, xyxy: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """The serving letterbox, and the boxes (N, 4) in its pixels."""
    square, scale, (dx, dy) = letterbox(rgb, size, fill=114)
    return square, xyxy * scale + np.array([dx, dy, dx, dy])
