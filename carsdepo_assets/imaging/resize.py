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


def letterbox(
    rgb: NDArray[np.uint8], size: int, fill: int = 114, stride: int | None = None
) -> tuple[NDArray[np.uint8], float, tuple[int, int]]:
    """Fits an image into the middle of a canvas, enlarging or shrinking it until its longest side is `size`.

    Args:
        rgb: the image.
        size: longest side of the canvas, in pixels.
        fill: value of the pixels beside the image.
        stride: the canvas's shorter side is the smallest multiple of it that holds the image; None: a square.

    Returns:
        The canvas, the scale, and (dx, dy): a point (x, y) of the image lies at (x * scale + dx, y * scale + dy) of
        the canvas, to half a pixel.
    """
    h, w = rgb.shape[:2]
    scale = size / max(w, h)
    width, height = max(1, round(w * scale)), max(1, round(h * scale))
    if scale <= 1:
        inner = shrink(rgb, width, height)
    else:
        inner = np.asarray(cv2.resize(rgb, (width, height), interpolation=cv2.INTER_LINEAR), np.uint8)
    step = stride or size
    across, down = (min(size, -(-side // step) * step) for side in (width, height))
    if (width, height) == (across, down):
        return inner, scale, (0, 0)
    dx, dy = (across - width) // 2, (down - height) // 2
    canvas = np.full((down, across, *rgb.shape[2:]), fill, np.uint8)
    canvas[dy : dy + height, dx : dx + width] = inner
    return canvas, scale, (dx, dy)


@dataclass(frozen=True)
class NetworkInput:
    """The images that a network takes."""

    side: int
    """their longest side, in pixels"""
    stride: int | None
    """their shorter side is a multiple of it, in pixels; None: they are squares"""


@dataclass(frozen=True)
class Letterboxed:
    """A photograph as a network is given it, with what maps boxes back to the photograph."""

    pixels: NDArray[np.uint8]
    """height x width x 3, as letterbox returned it"""
    scale: float
    """pixels of the network's image for one of the photograph"""
    offset: tuple[int, int]
    """(dx, dy), as letterbox returned it"""
    width: int
    """of the photograph, in pixels"""
    height: int
    """of the photograph, in pixels"""


def letterboxed(
    rgb: NDArray[np.uint8], network: NetworkInput, width: int | None = None, height: int | None = None
) -> Letterboxed:
    """Letterboxes a photograph for a network, with the grey (114) that every detector was trained beside.

    Args:
        rgb: its pixels.
        network: what the network takes.
        width: of the photograph, in pixels, where `rgb` was decoded at a reduced scale; None: that of `rgb`.
        height: likewise.

    Raises:
        ValueError: it is not height x width x 3 of uint8, or has no pixels.
    """
    if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != np.uint8 or rgb.size == 0:
        raise ValueError(f"expected HxWx3 uint8 RGB, got shape {rgb.shape} of {rgb.dtype}")
    width, height = width or rgb.shape[1], height or rgb.shape[0]
    pixels, _, offset = letterbox(rgb, network.side, fill=114, stride=network.stride)
    return Letterboxed(pixels, network.side / max(width, height), offset, width, height)


def unletterbox(
    xyxy: NDArray[Any], scale: float, offset: tuple[int, int], width: int, height: int
) -> NDArray[np.float64]:
    """Maps boxes from a letterboxed image back to the original, and clips them to it.

    Args:
        xyxy: (N, 4), in pixels of the letterboxed image.
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
