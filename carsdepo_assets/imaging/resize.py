"""Resizes images, and maps boxes back to the original. Images are height x width x 3 (or height x width) uint8."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

cv2.setNumThreads(1)  # process_many gives each thread a photograph of its own, which was measured to be faster

# Below this factor two neighbouring pixels are enough and six times faster than exact area averaging.
_LINEAR_BELOW = 1.3


def shrink(image: NDArray[np.uint8], width: int, height: int) -> NDArray[np.uint8]:
    """Returns the image at width x height pixels, averaged over areas so that thin lines do not alias.

    Args:
        image: the image.
        width: at most the image's own.
        height: at most the image's own.
    """
    h, w = image.shape[:2]
    if (w, h) == (width, height):
        return image
    near = w < _LINEAR_BELOW * width and h < _LINEAR_BELOW * height
    smaller = cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR if near else cv2.INTER_AREA)
    return np.asarray(smaller, np.uint8)


def fitted_size(width: int, height: int, px: int) -> tuple[int, int]:
    """Returns the width and height of an image once its longest side is at most `px`.

    Proportions are kept to the pixel; no side becomes larger than it is or smaller than 1.
    """
    longest = max(width, height)
    if longest <= px:
        return width, height
    return max(1, round(width * px / longest)), max(1, round(height * px / longest))


def fit_longest(rgb: NDArray[np.uint8], px: int) -> tuple[NDArray[np.uint8], float]:
    """Returns the image with its longest side at most `px`, and its new longest side / the old one. Never enlarges."""
    h, w = rgb.shape[:2]
    width, height = fitted_size(w, h, px)
    return shrink(rgb, width, height), max(width, height) / max(w, h)


def letterbox(rgb: NDArray[np.uint8], size: int, fill: int = 114) -> tuple[NDArray[np.uint8], float, tuple[int, int]]:
    """Fits an image into the middle of a square, enlarging or shrinking it until its longest side fills the square.

    Args:
        rgb: the image.
        size: side of the square, in pixels.
        fill: value of the pixels beside the image.

    Returns:
        The square, the scale, and (dx, dy): a point (x, y) of the image lies at (x * scale + dx, y * scale + dy) of
        the square, to half a pixel.
    """
    h, w = rgb.shape[:2]
    scale = size / max(w, h)
    width, height = max(1, round(w * scale)), max(1, round(h * scale))
    if scale <= 1:
        inner = shrink(rgb, width, height)
    else:
        inner = np.asarray(cv2.resize(rgb, (width, height), interpolation=cv2.INTER_LINEAR), np.uint8)
    dx, dy = (size - width) // 2, (size - height) // 2
    if (dx, dy) == (0, 0) and (width, height) == (size, size):
        return inner, scale, (0, 0)
    canvas = np.full((size, size, *rgb.shape[2:]), fill, np.uint8)
    canvas[dy : dy + height, dx : dx + width] = inner
    return canvas, scale, (dx, dy)


@dataclass(frozen=True)
class Letterboxed:
    """An image as a network is given it, with what maps boxes back to the image."""

    square: NDArray[np.uint8]
    """size x size x 3, as letterbox returned it"""
    scale: float
    """as letterbox returned it"""
    offset: tuple[int, int]
    """(dx, dy), as letterbox returned it"""
    width: int
    """of the image, in pixels"""
    height: int
    """of the image, in pixels"""


def letterboxed(rgb: NDArray[np.uint8], size: int) -> Letterboxed:
    """Letterboxes an image for a network, with the grey (114) that both detectors were trained beside.

    Raises:
        ValueError: it is not height x width x 3 of uint8, or has no pixels.
    """
    if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != np.uint8 or rgb.size == 0:
        raise ValueError(f"expected HxWx3 uint8 RGB, got shape {rgb.shape} of {rgb.dtype}")
    square, scale, offset = letterbox(rgb, size, fill=114)
    return Letterboxed(square, scale, offset, rgb.shape[1], rgb.shape[0])


def unletterbox(
    xyxy: NDArray[Any], scale: float, offset: tuple[int, int], width: int, height: int
) -> NDArray[np.float64]:
    """Maps boxes from a letterboxed square back to the image, and clips them to it.

    Args:
        xyxy: (N, 4), in pixels of the square.
        scale: as letterbox returned it.
        offset: (dx, dy), as letterbox returned it.
        width: of the image, in pixels.
        height: of the image, in pixels.

    Returns:
        (N, 4), in pixels of the image.
    """
    boxes = np.asarray(xyxy, np.float64).reshape(-1, 4)
    boxes = (boxes - np.array([*offset, *offset], np.float64)) / scale
    return np.clip(boxes, 0, np.array([width, height, width, height], np.float64))
