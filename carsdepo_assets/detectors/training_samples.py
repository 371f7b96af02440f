"""Images of a training set as tensors: read, augmented and letterboxed. Imports torch: import it late."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from carsdepo_assets.detectors.base import TrainingImage
from carsdepo_assets.detectors.checkpoints import DetectorError
from carsdepo_assets.detectors.former_augmentation import FormerAugmentation, formerly_augmented
from carsdepo_assets.imaging.augmentation import LabelledPixels, augmented, chance_of
from carsdepo_assets.imaging.resize import letterbox
from carsdepo_assets.policy_augmentation import GREY, AugmentationSettings


@dataclass(frozen=True)
class Sample:
    """One image of a training set on the device, square."""

    pixels: torch.Tensor
    """(3, side, side), RGB of 0 to 1."""
    boxes: torch.Tensor
    """Corners in its pixels, (N, 4) float32; none without area."""
    classes: torch.Tensor
    """Class ids of the boxes, (N,) int64."""
    dropped: int = 0
    """Boxes that augmentation left too little of."""


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


@dataclass(frozen=True)
class Variation:
    """How the images of a training are varied, as its recipe declares it."""

    images: Sequence[TrainingImage]
    """All that the training reads; mosaics take others of them."""
    side: int
    """Of the square that the network sees, in pixels."""
    how: AugmentationSettings
    """The recipe's."""
    seed: int
    """The recipe's."""
    device: torch.device
    """Where the tensors go."""

    def sample(self, image: TrainingImage, epoch: int) -> Sample:
        """One image as an epoch sees it; epochs are counted from 0."""
        square = augmented(
            labelled_pixels(image),
            self.side,
            self.how,
            chance_of(self.seed, epoch, image.image_id),
            lambda share: labelled_pixels(self.images[int(share * len(self.images))]),
        )
        return _sample(square.rgb, square.xyxy, square.classes, self.device, square.dropped)


def labelled_pixels(image: TrainingImage) -> LabelledPixels:
    """Reads an image with its boxes. Raises DetectorError as `read_rgb` does."""
    return LabelledPixels(read_rgb(image), image.xyxy.reshape(-1, 4), image.classes)


def former_sample(
    image: TrainingImage, side: int, how: FormerAugmentation, random: np.random.Generator, device: torch.device
) -> Sample:
    """Reads, augments and letterboxes a training image of a recipe that declares no augmentation.

    Args:
        image: The image.
        side: Of the square that the network sees, in pixels.
        how: The augmentation.
        random: Its source of chance.
        device: Where the tensors go.
    """
    rgb, xyxy, classes = formerly_augmented(read_rgb(image), image.xyxy.reshape(-1, 4), image.classes, how, random)
    return _letterboxed(LabelledPixels(rgb, xyxy, classes), side, device)


def whole(image: TrainingImage, side: int, device: torch.device) -> Sample:
    """Reads and letterboxes an image without augmenting it; the arguments are those of `former_sample`."""
    return _letterboxed(labelled_pixels(image), side, device)


def _letterboxed(image: LabelledPixels, side: int, device: torch.device) -> Sample:
    """The image in a square, as serving makes it."""
    square, scale, (dx, dy) = letterbox(image.rgb, side, GREY)
    boxes = image.xyxy * scale + np.array([dx, dy, dx, dy])
    wide = (boxes[:, 2:] - boxes[:, :2] >= 1).all(axis=1)  # torchvision refuses boxes without area
    return _sample(square, boxes[wide], image.classes[wide], device)


def _sample(
    square: NDArray[np.uint8],
    boxes: NDArray[np.float64],
    classes: NDArray[np.int64],
    device: torch.device,
    dropped: int = 0,
) -> Sample:
    return Sample(
        torch.from_numpy(np.ascontiguousarray(square.transpose(2, 0, 1))).to(device).float() / 255,
        torch.as_tensor(boxes, dtype=torch.float32, device=device).reshape(-1, 4),
        torch.as_tensor(classes, dtype=torch.int64, device=device),
        dropped,
    )
