"""Photographs of the lake as small pictures inside a page (data: URIs)."""

from __future__ import annotations

from functools import lru_cache

from carsdepo_assets.imaging.bad_image import BadImage
from carsdepo_assets.lake.lake import Lake, LakeError
from carsdepo_assets.policy import InferencePolicy
from carsdepo_assets.reporting.page import data_uri

_QUALITY = 82


def picture(lake: Lake, key: str | None, px: int, limits: InferencePolicy) -> str | None:
    """A photograph as a JPEG in a data: URI, upright.

    Args:
        lake: The lake.
        key: The photograph's key; None where it was not kept.
        px: The longest side of the picture in pixels.
        limits: The limits of photographs that are read at all.

    Returns:
        The data: URI; None where the photograph was not kept, is gone or cannot be read.
    """
    if not key:
        return None
    try:
        return _picture(lake.url, key, px, limits.max_photograph_bytes, limits.max_pixels)
    except (LakeError, BadImage):
        return None


@lru_cache(maxsize=400)  # of 10 kB each at a thumbnail's size; keys name content that never changes
def _picture(url: str, key: str, px: int, max_bytes: int, max_pixels: int) -> str:
    from carsdepo_assets.imaging.decode import decode
    from carsdepo_assets.imaging.encode import encode_jpeg
    from carsdepo_assets.imaging.resize import fit_longest

    data = Lake.open(url).get(key)
    rgb = decode(data, max_bytes=max_bytes, max_pixels=max_pixels, min_side=1, at_least=px).rgb
    return data_uri(encode_jpeg(fit_longest(rgb, px)[0], _QUALITY))
