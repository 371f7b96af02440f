"""Varies a labelled photograph for training: one function for every family, and for the pages that show what it does.

A photograph comes in, the square that a network is given goes out, and boxes move with their pixels. What happens hangs
on the settings, the seed, the epoch and the photograph's id alone: not on workers, on the order of photographs or on
where a training was interrupted. Each field of the settings has draws of its own, so that changing one of them leaves
what the others do as it was.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import simplejpeg
from numpy.typing import NDArray

from carsdepo_assets.imaging.encode import encode_jpeg
from carsdepo_assets.imaging.resize import shrink
from carsdepo_assets.policy_augmentation import GREY, AugmentationSettings

# The draws of a photograph, in the order in which chance gives them; new ones go to the end.
_DRAWS = (
    "flip", "crop", "crop_width", "crop_height", "crop_x", "crop_y", "scale", "move_x", "move_y", "mosaic", "mosaic_x",
    "mosaic_y", "mosaic_1", "mosaic_2", "mosaic_3", "brightness", "contrast", "saturation", "hue", "blur", "blur_px",
    "noise", "noise_levels", "jpeg", "jpeg_quality",
)  # fmt: skip
_ROUNDING_PX = 1e-3


@dataclass(frozen=True)
class LabelledPixels:
    """A photograph and its boxes."""

    rgb: NDArray[np.uint8]
    """height x width x 3"""
    xyxy: NDArray[np.float64]
    """corners in its pixels, (N, 4)"""
    classes: NDArray[np.int64]
    """class ids of the boxes, (N,)"""


@dataclass(frozen=True)
class AugmentedSquare:
    """What a network is given of a photograph."""

    rgb: NDArray[np.uint8]
    """side x side x 3"""
    xyxy: NDArray[np.float64]
    """corners in its pixels, (N, 4), clipped to what is seen; none is narrower than a pixel"""
    classes: NDArray[np.int64]
    """class ids of the boxes, (N,)"""
    dropped: int
    """boxes that are seen too little to stay labels"""


@dataclass(frozen=True)
class _Piece:
    """A photograph, or a crop of it, and where it lies in the square."""

    rgb: NDArray[np.uint8]
    xyxy: NDArray[np.float64]  # in its pixels; they may reach beyond it
    classes: NDArray[np.int64]
    width: int  # in the square, in pixels
    height: int
    x: int
    y: int

    def seen(self, side: int) -> tuple[int, int, int, int]:
        """The part of the square that it covers: x1, y1, x2, y2; x2 <= x1 or y2 <= y1 where it lies outside."""
        return max(self.x, 0), max(self.y, 0), min(self.x + self.width, side), min(self.y + self.height, side)


def chance_of(seed: int, epoch: int, image_id: str) -> np.random.Generator:
    """The source of chance of one photograph in one epoch.

    Args:
        seed: of the training, 0 or more.
        epoch: counted from 0.
        image_id: the photograph's id.
    """
    words = np.frombuffer(hashlib.sha256(image_id.encode()).digest()[:8], "<u4")
    return np.random.default_rng([seed, epoch, *words.tolist()])


def augmented(
    image: LabelledPixels,
    side: int,
    how: AugmentationSettings,
    random: np.random.Generator,
    other: Callable[[float], LabelledPixels] | None = None,
) -> AugmentedSquare:
    """Varies a photograph and letterboxes it.

    Args:
        image: the photograph.
        side: of the square that the network sees, in pixels.
        how: what may happen to it.
        random: its source of chance, as `chance_of` gives it.
        other: gives the photograph at a share (0 to below 1) of all, for mosaics; None: no mosaics are made.

    Returns:
        The square. Where nothing is varied it is what serving makes of the photograph.
    """
    draws = dict(zip(_DRAWS, random.random(len(_DRAWS)), strict=True))
    if other is not None and draws["mosaic"] < how.mosaic:
        three = [other(draws[f"mosaic_{n}"]) for n in (1, 2, 3)]
        pieces = _mosaic([image, *three], side, how, draws)
    else:
        window = _crop(image, how, draws) if draws["crop"] < how.crop else image
        pieces = [_centred(window, side, how, draws)]
    square = np.full((side, side, 3), GREY, np.uint8)
    boxes, classes, dropped = [], [], 0
    for piece in pieces:
        _draw(square, piece, how, draws, random)
        kept = _visible(piece, side, how.min_visible)
        boxes.append(kept[0])
        classes.append(kept[1])
        dropped += len(piece.classes) - len(kept[1])
    xyxy = np.concatenate(boxes)
    if draws["flip"] < how.flip:
        square = square[:, ::-1]
        xyxy = np.column_stack((side - xyxy[:, 2], xyxy[:, 1], side - xyxy[:, 0], xyxy[:, 3]))
    return AugmentedSquare(np.ascontiguousarray(square), xyxy, np.concatenate(classes), dropped)


def _around(middle: float, reach: float, draw: float) -> float:
    """A value between middle - reach and middle + reach."""
    return middle + reach * (2 * draw - 1)


def _crop(image: LabelledPixels, how: AugmentationSettings, draws: dict[str, float]) -> LabelledPixels:
    """A part of the photograph; the whole where every box would be lost: that would teach nothing about damage."""
    height, width = image.rgb.shape[:2]
    w = max(1, round(width * _around((1 + how.crop_min) / 2, (1 - how.crop_min) / 2, draws["crop_width"])))
    h = max(1, round(height * _around((1 + how.crop_min) / 2, (1 - how.crop_min) / 2, draws["crop_height"])))
    x, y = int(draws["crop_x"] * (width - w + 1)), int(draws["crop_y"] * (height - h + 1))
    part = _Piece(image.rgb[y : y + h, x : x + w], image.xyxy - [x, y, x, y], image.classes, w, h, 0, 0)
    if len(image.classes) and not len(_visible(part, max(w, h), how.min_visible)[1]):
        return image
    return LabelledPixels(part.rgb, part.xyxy, part.classes)


def _centred(image: LabelledPixels, side: int, how: AugmentationSettings, draws: dict[str, float]) -> _Piece:
    """The photograph in the middle of the square, larger or smaller and moved."""
    height, width = image.rgb.shape[:2]
    scale = side / max(width, height) * _around(1.0, how.scale, draws["scale"])
    w, h = max(1, round(width * scale)), max(1, round(height * scale))
    x = (side - w) // 2 + round(side * _around(0.0, how.translate, draws["move_x"]))
    y = (side - h) // 2 + round(side * _around(0.0, how.translate, draws["move_y"]))
    return _Piece(image.rgb, image.xyxy, image.classes, w, h, x, y)


def _mosaic(
    images: Sequence[LabelledPixels], side: int, how: AugmentationSettings, draws: dict[str, float]
) -> list[_Piece]:
    """Four photographs around a point, each with its longest side as long as the square's, larger or smaller."""
    enlarged = _around(1.0, how.scale, draws["scale"])
    middle = [
        round(side / 2 + enlarged * side * (draws[f"mosaic_{a}"] - 0.5) + side * _around(0, how.translate, draws[m]))
        for a, m in (("x", "move_x"), ("y", "move_y"))
    ]
    pieces = []
    for number, image in enumerate(images):
        height, width = image.rgb.shape[:2]
        scale = side / max(width, height) * enlarged
        w, h = max(1, round(width * scale)), max(1, round(height * scale))
        x = middle[0] - w if number % 2 == 0 else middle[0]
        y = middle[1] - h if number < 2 else middle[1]
        pieces.append(_Piece(image.rgb, image.xyxy, image.classes, w, h, x, y))
    return pieces


def _visible(piece: _Piece, side: int, min_visible: float) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """The boxes that stay, in pixels of the square, clipped to the piece and to the square; and their classes."""
    height, width = piece.rgb.shape[:2]
    ratio = np.array([piece.width / width, piece.height / height] * 2)
    whole = piece.xyxy * ratio + [piece.x, piece.y, piece.x, piece.y]
    x1, y1, x2, y2 = piece.seen(side)
    if x2 <= x1 or y2 <= y1:
        return np.zeros((0, 4)), piece.classes[:0]
    clipped = np.clip(whole, [x1, y1, x1, y1], [x2, y2, x2, y2])
    sides = clipped[:, 2:] - clipped[:, :2]
    before = whole[:, 2:] - whole[:, :2]
    # A box at the photograph's edge reaches beyond it by what single precision and label files round away.
    area = before.prod(axis=1) - _ROUNDING_PX * before.sum(axis=1)
    keep = (sides >= 1).all(axis=1) & (sides.prod(axis=1) >= min_visible * area)
    return clipped[keep], piece.classes[keep]


def _draw(
    square: NDArray[np.uint8],
    piece: _Piece,
    how: AugmentationSettings,
    draws: dict[str, float],
    random: np.random.Generator,
) -> None:
    """Writes what is seen of a piece into the square. The grey beside photographs stays as it is."""
    x1, y1, x2, y2 = piece.seen(len(square))
    if x2 <= x1 or y2 <= y1:
        return
    if piece.width <= piece.rgb.shape[1]:
        pixels = shrink(piece.rgb, piece.width, piece.height)
    else:
        pixels = np.asarray(
            cv2.resize(piece.rgb, (piece.width, piece.height), interpolation=cv2.INTER_LINEAR), np.uint8
        )
    seen = pixels[y1 - piece.y : y2 - piece.y, x1 - piece.x : x2 - piece.x]
    square[y1:y2, x1:x2] = _degraded(_relit(seen, how, draws), how, draws, random)


def _relit(rgb: NDArray[np.uint8], how: AugmentationSettings, draws: dict[str, float]) -> NDArray[np.uint8]:
    """The photograph in another light."""
    turn, strength = _around(0, how.hue, draws["hue"]), _around(1, how.saturation, draws["saturation"])
    if how.hue or how.saturation:
        levels = np.arange(256.0)
        table = np.stack(((levels + turn * 180) % 180, np.clip(levels * strength, 0, 255), levels), axis=-1)
        table[0, 1] = 0  # what is grey stays grey
        hsv = cv2.LUT(cv2.cvtColor(rgb, cv2.COLOR_RGB2HSV), table.astype(np.uint8).reshape(1, 256, 3))
        rgb = np.asarray(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB), np.uint8)
    if how.brightness or how.contrast:
        light, contrast = _around(1, how.brightness, draws["brightness"]), _around(1, how.contrast, draws["contrast"])
        mean = float(rgb.mean()) * light
        levels = (np.arange(256.0) * light - mean) * contrast + mean
        rgb = np.asarray(cv2.LUT(rgb, np.clip(np.rint(levels), 0, 255).astype(np.uint8)), np.uint8)
    return rgb


def _degraded(
    rgb: NDArray[np.uint8], how: AugmentationSettings, draws: dict[str, float], random: np.random.Generator
) -> NDArray[np.uint8]:
    """The photograph as a worse camera gives it: blurred, noisy, compressed."""
    if draws["blur"] < how.blur:
        rgb = np.asarray(cv2.GaussianBlur(rgb, (0, 0), max(0.1, how.blur_px * draws["blur_px"])), np.uint8)
    if draws["noise"] < how.noise:
        noise = random.normal(0, how.noise_levels * draws["noise_levels"], rgb.shape)
        rgb = np.clip(np.rint(rgb + noise), 0, 255).astype(np.uint8)
    if draws["jpeg"] < how.jpeg:
        quality = round(how.jpeg_quality + (100 - how.jpeg_quality) * draws["jpeg_quality"])
        rgb = np.asarray(simplejpeg.decode_jpeg(encode_jpeg(rgb, quality)), np.uint8)
    return rgb
