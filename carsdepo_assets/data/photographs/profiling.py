"""The whylogs profile of a batch's image features: small, and mergeable with those of other batches."""

from __future__ import annotations

import pandas as pd

from carsdepo_assets.quality import profiles
from carsdepo_assets.quality.profiles import merged

__all__ = ["FEATURES", "merged", "profile"]

FEATURES = (
    "luma_mean",
    "luma_std",
    "luma_p95",
    "sharpness",
    "saturation",
    "colour_cast",
    "aspect",
    "megapixels",
    "bits_per_pixel",
    "camera",
    "region",
    "uploader",
)


def profile(frame: pd.DataFrame) -> bytes:
    """A serialized whylogs profile of the columns FEATURES.

    Args:
        frame: one row for each photograph.
    """
    return profiles.profile(frame, FEATURES)
