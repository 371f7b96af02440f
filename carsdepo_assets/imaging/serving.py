"""Decodes a photograph as the service does, within one set of limits.

The service, the golden photographs and every evaluation decode through this module, so that a model is judged on the
pixels that it would be given in production.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from carsdepo_assets.imaging.bad_image import BadImage, Reason, SwitchedOff
from carsdepo_assets.imaging.decode import Decoded
from carsdepo_assets.imaging.decodings import Decodings, Limits
from carsdepo_assets.imaging.pipeline import pipeline_scale
from carsdepo_assets.imaging.resize import Letterboxed, NetworkInput, letterboxed
from carsdepo_assets.policy import Policy

MAX_PIXELS_OTHER = 16_000_000  # of formats whose decoders take up to 16 bytes of memory for each
_LIMITS: frozenset[Reason] = frozenset({"too_large", "too_many_pixels", "too_small"})

NetworkImage = Letterboxed | NDArray[np.uint8]
"""What a predictor is given: a photograph letterboxed; all its pixels where it does not say what its network takes."""


def serving_limits(policy: Policy) -> Limits:
    """Returns the narrower of the service's limits and the pipeline's.

    A photograph that the service answers can therefore also be ingested, measured and labelled.
    """
    service, pipeline = policy.inference, policy.data
    return Limits(
        max_bytes=min(service.max_photograph_bytes, pipeline.max_bytes),
        max_pixels=min(service.max_pixels, pipeline.max_pixels),
        min_side=pipeline.min_side_px,
        max_pixels_other=MAX_PIXELS_OTHER,
        heic=service.heic,
    )


def served(decodings: Decodings, policy: Policy, network: NetworkInput | None) -> tuple[Decoded, NetworkImage]:
    """Decodes one photograph as the service does for a request, and letterboxes it.

    It is decoded at the scale at which the pipeline measures it, or a larger one where the network's image is larger:
    each pixel of the network's image is then an average of pixels that were there, and one decoding serves both.

    Args:
        decodings: the original file, with the limits of `serving_limits`.
        policy: its sections `data` and `inference`.
        network: what the model's network takes; None: the photograph is decoded at full scale.

    Returns:
        The decoded photograph and what the predictor is given.

    Raises:
        BadImage: the photograph is beyond the limits or cannot be read.
    """
    if network is None:
        decoded = decodings.at_least(None)
        return decoded, decoded.rgb
    decoded = decodings.at_least(_scale(decodings.data, policy, network))
    return decoded, letterboxed(decoded.rgb, network, decoded.width, decoded.height)


def decode_as_served(data: bytes, policy: Policy, network: NetworkInput | None = None) -> tuple[Decoded, NetworkImage]:
    """Decodes the bytes of one original; see `served`."""
    return served(Decodings(data, serving_limits(policy)), policy, network)


def is_beyond_limits(refusal: BadImage) -> bool:
    """Whether a refusal is for the photograph's size or format alone: it may be sound, but the service refuses it."""
    return refusal.reason in _LIMITS or isinstance(refusal, SwitchedOff)


def _scale(data: bytes, policy: Policy, network: NetworkInput) -> int:
    return max(pipeline_scale(data, policy.data), network.side)
