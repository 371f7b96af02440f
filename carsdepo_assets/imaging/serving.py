"""Decodes a photograph as the service does, within one set of limits.

The service, the golden photographs and every evaluation decode through this module, so that a model is judged on the
pixels that it would be given in production.
"""

from __future__ import annotations

from typing import TypedDict

from carsdepo_assets.imaging.bad_image import BadImage, Reason
from carsdepo_assets.imaging.decode import Decoded, decode
from carsdepo_assets.policy import Policy

_LIMITS: frozenset[Reason] = frozenset({"too_large", "too_many_pixels", "too_small"})


class ServingLimits(TypedDict):
    """What `imaging.decode.decode` takes as its limits."""

    max_bytes: int
    """size of the file, in bytes"""
    max_pixels: int
    """width times height, as the header says"""
    min_side: int
    """shortest side, in pixels"""


def serving_limits(policy: Policy) -> ServingLimits:
    """Returns the narrower of the service's limits and the pipeline's.

    A photograph that the service answers can therefore also be ingested, measured and labelled.
    """
    service, pipeline = policy.inference, policy.data
    return {
        "max_bytes": min(service.max_photograph_bytes, pipeline.max_bytes),
        "max_pixels": min(service.max_pixels, pipeline.max_pixels),
        "min_side": pipeline.min_side_px,
    }


def decode_as_served(data: bytes, policy: Policy) -> Decoded:
    """Decodes one photograph at full scale, as the service does for a request.

    Args:
        data: the original file's bytes.
        policy: its `inference` and `data` sections hold the limits.

    Raises:
        BadImage: the photograph is beyond the limits or cannot be read.
    """
    return decode(data, **serving_limits(policy))


def is_beyond_limits(refusal: BadImage) -> bool:
    """Whether a refusal is for the photograph's size alone: it may be sound, but the service would not answer it."""
    return refusal.reason in _LIMITS
