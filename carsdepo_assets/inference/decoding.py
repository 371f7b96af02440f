"""What is done to a photograph before the network sees it: it is decoded, letterboxed and measured."""

from __future__ import annotations

from dataclasses import dataclass

from carsdepo_assets.imaging import pipeline
from carsdepo_assets.imaging.decodings import Decodings
from carsdepo_assets.imaging.resize import NetworkInput
from carsdepo_assets.imaging.serving import NetworkImage, served, serving_limits
from carsdepo_assets.policy import Policy


class ClientGone(Exception):
    """The client left before its photographs were all inspected; nothing of them is stored."""


@dataclass(frozen=True)
class Measured:
    """A photograph as the service needs it; of its megapixels only what the network is given is kept."""

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
    image: NetworkImage
    """what the predictor is given"""


def measure(data: bytes, policy: Policy, network: NetworkInput | None) -> Measured:
    """Decodes, letterboxes and measures one photograph.

    Args:
        data: the file's bytes.
        policy: its sections `data` and `inference`.
        network: what the model's network takes; None: the predictor is given the whole photograph.

    Raises:
        BadImage: it cannot be used.
    """
    decodings = Decodings(data, serving_limits(policy))
    decoded, image = served(decodings, policy, network)
    # The pipeline's own measurement: reference and traffic compare to the last bit.
    features = pipeline.measure(decodings, policy.data)
    return Measured(decoded.width, decoded.height, decoded.format, decoded.exif["camera"], features, image)
