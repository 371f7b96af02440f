"""What is done to a photograph before the network sees it: it is decoded, letterboxed and measured."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from carsdepo_assets.imaging.pipeline import process
from carsdepo_assets.imaging.resize import Letterboxed, letterboxed
from carsdepo_assets.imaging.serving import decode_as_served
from carsdepo_assets.policy import Policy


class ClientGone(Exception):
    """The client left before its photographs were all inspected; nothing of them is stored."""


@dataclass(frozen=True)
class Measured:
    """A photograph as the service needs it; of its megapixels only the network's square is kept."""

    width: int
    """of the upright photograph"""
    height: int
    """of the upright photograph"""
    format: str
    """jpeg, png ..."""
    camera: str | None
    """EXIF's"""
    features: dict[str, float]
    """as the pipeline measures them"""
    image: Letterboxed | NDArray[np.uint8]
    """what the network is given; the whole upright photograph for predictors that do not say their square"""


def measure(data: bytes, policy: Policy, side: int | None) -> Measured:
    """Decodes, letterboxes and measures one photograph.

    Args:
        data: the file's bytes.
        policy: its sections `data` and `inference`.
        side: of the network's square, in pixels; None: the predictor is given the whole photograph.

    Raises:
        BadImage: it cannot be used.
    """
    decoded = decode_as_served(data, policy)
    image = decoded.rgb if side is None else letterboxed(decoded.rgb, side)
    width, height, kind, camera = decoded.width, decoded.height, decoded.format, decoded.exif["camera"]
    del decoded  # its pixels, before the pipeline decodes them a second time
    # The pipeline's own measurement, on its own decoding: reference and traffic compare to the last bit.
    return Measured(width, height, kind, camera, process(data, policy.data).features, image)
