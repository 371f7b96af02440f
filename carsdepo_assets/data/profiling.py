"""A whylogs profile of a batch's image features: small, mergeable over batches, read again by monitoring."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pandas as pd

if TYPE_CHECKING:
    from whylogs.core.view.dataset_profile_view import DatasetProfileView

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


def _whylogs():  # type: ignore[no-untyped-def]
    import numpy as np

    os.environ.setdefault("WHYLOGS_NO_ANALYTICS", "True")
    if not hasattr(np, "unicode_"):
        np.unicode_ = np.str_  # whylogs 1.6.4 reads the name that numpy 2 removed
    import whylogs

    return whylogs


def profile(frame: pd.DataFrame) -> bytes:
    """A serialized whylogs profile of the FEATURES columns of `frame` (one row a photograph)."""
    view: DatasetProfileView = _whylogs().log(frame[[c for c in FEATURES if c in frame]]).view()
    return bytes(view.serialize())


def merged(profiles: list[bytes]) -> pd.DataFrame:
    """One row a feature over all profiles: count, mean, stddev, min, median, max; NaN for text features.

    Raises ValueError for an empty list.
    """
    if not profiles:
        raise ValueError("no profiles to merge")
    _whylogs()
    from whylogs.core.view.dataset_profile_view import DatasetProfileView

    view = DatasetProfileView.deserialize(profiles[0])
    for data in profiles[1:]:
        view = view.merge(DatasetProfileView.deserialize(data))
    table = view.to_pandas()
    columns = {
        "counts/n": "count",
        "distribution/mean": "mean",
        "distribution/stddev": "stddev",
        "distribution/min": "min",
        "distribution/median": "median",
        "distribution/max": "max",
    }
    return table.reindex(columns=list(columns)).rename(columns=columns)
