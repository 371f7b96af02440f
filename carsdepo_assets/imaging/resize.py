"""Smaller copies of an image, and the way back for boxes. Images are HxWx3 (or HxW) uint8."""

from __future__ import annotations

import cv2
import numpy as np

cv2.setNumThreads(1)  # threads belong to process_many: one photograph each, which measured faster

# Below this factor two neighbouring pixels are enough and six times faster than exact area averaging.
_LINEAR_BELOW = 1.3


def shrink(image: np.ndarray, width: int, height: int) -> np.ndarray:
    """`image` at width x height (both at most its own), averaged over areas so that thin lines do not alias."""
    h, w = image.shape[:2]
    if (w, h) == (width, height):
        return image
    near = w < _LINEAR_BELOW * width and h < _LINEAR_BELOW * height
    smaller = cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR if near else cv2.INTER_AREA)
    return np.asarray(smaller)


def fitted_size(width: int, height: int, px: int) -> tuple[int, int]:
    """(width, height) with the longest side at most `px`, proportions kept to the pixel; never larger, at least 1."""
    longest = max(width, height)
    if longest <= px:
        return width, height
    return max(1, round(width * px / longest)), max(1, round(height * px / longest))


def fit_longest(rgb: np.ndarray, px: int) -> tuple[np.ndarray, float]:
    """`rgb` with its longest side at most `px`, and scale = new longest side / old. Never enlarges."""
    h, w = rgb.shape[:2]
    width, height = fitted_size(w, h, px)
    return shrink(rgb, width, height), max(width, height) / max(w, h)


def letterbox(rgb: np.ndarray, size: int, fill: int = 114) -> tuple[np.ndarray, float, tuple[int, int]]:
    """`rgb` centred in a size x size square, enlarged or shrunk to touch it, the rest `fill`.

    Gives (image, scale, (dx, dy)): a point (x, y) of `rgb` lies at (x * scale + dx, y * scale + dy), to half a pixel.
    """
    h, w = rgb.shape[:2]
    scale = size / max(w, h)
    width, height = max(1, round(w * scale)), max(1, round(h * scale))
    if scale <= 1:
        inner = shrink(rgb, width, height)
    else:
        inner = cv2.resize(rgb, (width, height), interpolation=cv2.INTER_LINEAR)
    dx, dy = (size - width) // 2, (size - height) // 2
    if (dx, dy) == (0, 0) and (width, height) == (size, size):
        return inner, scale, (0, 0)
    canvas = np.full((size, size, *rgb.shape[2:]), fill, np.uint8)
    canvas[dy : dy + height, dx : dx + width] = inner
    return canvas, scale, (dx, dy)


def unletterbox(xyxy: np.ndarray, scale: float, offset: tuple[int, int], width: int, height: int) -> np.ndarray:
    """Boxes (N, 4) in a letterboxed square as float64 boxes in the width x height image, clipped to it."""
    boxes = np.asarray(xyxy, np.float64).reshape(-1, 4)
    boxes = (boxes - np.array([*offset, *offset], np.float64)) / scale
    return np.clip(boxes, 0, np.array([width, height, width, height], np.float64))
