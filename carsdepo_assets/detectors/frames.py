"""From the square that a network sees back to the image."""

from __future__ import annotations

import numpy as np

from carsdepo_assets.imaging.resize import unletterbox
from carsdepo_assets.scoring.boxes import Detections

MAX_BOXES = 100


def check_image(rgb: np.ndarray) -> None:
    """Raises ValueError for anything but HxWx3 uint8 with pixels in it."""
    if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != np.uint8 or rgb.size == 0:
        raise ValueError(f"expected HxWx3 uint8 RGB, got shape {rgb.shape} of {rgb.dtype}")


def to_image_frame(
    xyxy: np.ndarray,
    scores: np.ndarray,
    classes: np.ndarray,
    scale: float,
    offset: tuple[int, int],
    width: int,
    height: int,
) -> Detections:
    """Letterbox pixels -> image pixels, clipped; best first, at most MAX_BOXES, boxes of no area gone."""
    boxes = unletterbox(xyxy, scale, offset, width, height)
    keep = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
    order = np.argsort(-scores[keep], kind="stable")[:MAX_BOXES]
    return Detections(boxes[keep][order], scores[keep][order].astype(np.float64), classes[keep][order].astype(np.int64))
