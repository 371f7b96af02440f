"""The pictures of an exploration: small photographs, and the surroundings of single boxes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from carsdepo_assets.imaging.bad_image import BadImage
from carsdepo_assets.lake.lake import Lake, LakeError
from carsdepo_assets.policy import Policy
from carsdepo_assets.reporting.page import data_uri

_QUALITY = 74
_CONTEXT = 2.0  # a crop is this many boxes' sides wide ...
_LEAST_SHARE = 0.2  # ... but at least this share of the photograph


def photograph_pixels(lake: Lake, key: str | None, policy: Policy, at_least: int) -> NDArray[np.uint8] | None:
    """A stored photograph, upright, decoded at no more than twice a size; None where it is gone or damaged.

    Args:
        lake: The lake.
        key: Of its bytes; None: none are kept.
        policy: Gives the limits of the decoder.
        at_least: Its longest side is no shorter than this, where the original's is not; px.
    """
    from carsdepo_assets.imaging.decode import decode

    if key is None:
        return None
    limits = policy.inference
    try:
        return decode(
            lake.get(key), max_bytes=limits.max_photograph_bytes, max_pixels=limits.max_pixels, min_side=1,
            at_least=at_least,
        ).rgb  # fmt: skip
    except (LakeError, BadImage):
        return None


def thumbnail_uri(rgb: NDArray[np.uint8] | None, px: int) -> str | None:
    """A photograph as a small JPEG in a data: URI; None for None."""
    from carsdepo_assets.imaging.encode import encode_jpeg
    from carsdepo_assets.imaging.resize import fit_longest

    return None if rgb is None else data_uri(encode_jpeg(fit_longest(rgb, px)[0], _QUALITY))


def crop_uri(rgb: NDArray[np.uint8] | None, box: Mapping[str, float], px: int) -> tuple[str, list[float]] | None:
    """The surroundings of a box as a small square JPEG, and the box in them.

    Args:
        rgb: The photograph, at any scale; None: it is gone.
        box: Its x1, y1, x2 and y2, of 0 to 1 of the photograph.
        px: Side of the picture.

    Returns:
        The data: URI, and the box's x, y, width and height of 0 to 1 of the picture; None for None.
    """
    import cv2

    from carsdepo_assets.imaging.encode import encode_jpeg

    if rgb is None:
        return None
    height, width = rgb.shape[:2]
    x1, x2, y1, y2 = box["x1"] * width, box["x2"] * width, box["y1"] * height, box["y2"] * height
    side = max(_CONTEXT * (x2 - x1), _CONTEXT * (y2 - y1), _LEAST_SHARE * max(width, height), 8.0)
    side = max(1.0, min(side, float(width), float(height)))
    left = min(max((x1 + x2 - side) / 2, 0), width - side)
    top = min(max((y1 + y2 - side) / 2, 0), height - side)
    cut = rgb[int(top) : max(int(top) + 1, int(top + side)), int(left) : max(int(left) + 1, int(left + side))]
    small = np.asarray(cv2.resize(cut, (px, px), interpolation=cv2.INTER_AREA), np.uint8)
    inner = [(x1 - left) / side, (y1 - top) / side, (x2 - x1) / side, (y2 - y1) / side]
    return data_uri(encode_jpeg(small, _QUALITY)), inner


def sheet_rows(
    rows: Sequence[Mapping[str, Any]], pixels: Callable[[str | None, int], NDArray[np.uint8] | None], px: int
) -> list[dict[str, Any]]:
    """What a contact sheet shows of each photograph.

    Args:
        rows: Photographs, as mappings of `selection.PHOTOGRAPHS`.
        pixels: A stored photograph by its key and the least size.
        px: Longest side of the pictures.

    Returns:
        For each its id, name, size, boxes (labels, else answers) and the picture as a data: URI, None where it is gone.
    """
    return [
        {
            "image_id": row["image_id"],
            "name": (row["key"] or row["image_id"]).rsplit("/", 1)[-1],
            "width": row["width"],
            "height": row["height"],
            "boxes": row["boxes"] if row["boxes"] is not None else row["predicted"] or [],
            "picture": thumbnail_uri(pixels(row["picture_key"], px), px),
            "split": row["split"],
            "source": row["source"],
        }
        for row in rows
    ]
