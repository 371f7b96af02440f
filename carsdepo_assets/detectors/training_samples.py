"""Images of a training set as tensors: read, augmented and letterboxed. Imports torch: import it late."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from carsdepo_assets.detectors.augmentation import Augmentation, augment, to_square
from carsdepo_assets.detectors.base import TrainingImage
from carsdepo_assets.detectors.checkpoints import DetectorError


@dataclass(frozen=True)
class Sample:
    """One image of a training set on the device, square."""

    pixels: torch.Tensor
    """(3, side, side), RGB of 0 to 1."""
    boxes: torch.Tensor
    """Corners in its pixels, (N, 4) float32; none without area."""
    classes: torch.Tensor
    """Class ids of the boxes, (N,) int64."""


def read_rgb(image: TrainingImage) -> NDArray[np.uint8]:
    """Reads an image, HxWx3 RGB. Raises DetectorError where the file is no image or not of the expected size."""
    bgr = cv2.imread(str(image.path), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    if bgr is None:
        raise DetectorError(f"{image.path}: cannot be read as an image.")
    if bgr.shape[:2] != (image.height, image.width):
        raise DetectorError(
            f"{image.path}: {bgr.shape[1]}x{bgr.shape[0]} pixels, the set says {image.width}x{image.height}."
        )
    return np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB))


def sample(
    image: TrainingImage, side: int, how: Augmentation, random: np.random.Generator, device: torch.device
) -> Sample:
    """Reads, augments and letterboxes a training image.

    Args:
        image: The image.
        side: Of the square that the network sees, in pixels.
        how: The augmentation.
        random: Its source of chance.
        device: Where the tensors go.
    """
    rgb, xyxy, classes = augment(read_rgb(image), image.xyxy.reshape(-1, 4), image.classes, how, random)
    return _tensors(rgb, xyxy, classes, side, device)


def whole(image: TrainingImage, side: int, device: torch.device) -> Sample:
    """Reads and letterboxes an image without augmenting it; the arguments are those of `sample`."""
    return _tensors(read_rgb(image), image.xyxy.reshape(-1, 4), image.classes, side, device)


def _tensors(
    rgb: NDArray[np.uint8], xyxy: NDArray[np.float64], classes: NDArray[np.int64], side: int, device: torch.device
) -> Sample:
    square, boxes = to_square(rgb, xyxy, side)
    wide = (boxes[:, 2:] - boxes[:, :2] >= 1).all(axis=1)  # torchvision refuses boxes without area
    return Sample(
        torch.from_numpy(np.ascontiguousarray(square.transpose(2, 0, 1))).to(device).float() / 255,
        torch.as_tensor(boxes[wide], dtype=torch.float32, device=device).reshape(-1, 4),
        torch.as_tensor(classes[wide], dtype=torch.int64, device=device),
    )
