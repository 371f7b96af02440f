"""Makes and merges whylogs profiles: small summaries of the columns of a table, stored in the lake."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd

if TYPE_CHECKING:
    from whylogs.core.view.dataset_profile_view import DatasetProfileView

IMAGES = "profiles/images"  # of an upload batch: IMAGES/<batch>.bin
REFERENCE = "profiles/reference"  # of a model: REFERENCE/<digest>.bin
INFERENCE = "profiles/inference"  # of a day's answers: INFERENCE/<YYYY-MM-DD>.bin
_FIGURES = {
    "counts/n": "count",
    "distribution/mean": "mean",
    "distribution/stddev": "stddev",
    "distribution/min": "min",
    "distribution/median": "median",
    "distribution/max": "max",
}


def _whylogs() -> Any:
    import numpy as np

    os.environ.setdefault("WHYLOGS_NO_ANALYTICS", "True")
    if not hasattr(np, "unicode_"):
        np.unicode_ = np.str_  # type: ignore[attr-defined]  # whylogs 1.6.4 reads the name that numpy 2 removed
    import whylogs

    return whylogs


def profile(frame: pd.DataFrame, columns: Sequence[str]) -> bytes:
    """Makes a profile.

    Args:
        frame: one row a photograph.
        columns: those to summarize; what the frame does not have is left out.

    Returns:
        The profile, serialized.
    """
    view: DatasetProfileView = _whylogs().log(frame[[c for c in columns if c in frame]]).view()
    return bytes(view.serialize())


def merge(profiles: Sequence[bytes]) -> bytes:
    """Merges serialized profiles into one, as if all their rows had been profiled together.

    Raises:
        ValueError: there is none.
    """
    return bytes(_merged_view(profiles).serialize())


def merged(profiles: Sequence[bytes]) -> pd.DataFrame:
    """Summarizes all rows of several serialized profiles.

    Returns:
        One row a profiled column: count, mean, stddev, min, median, max; NaN for columns of text.

    Raises:
        ValueError: there is no profile.
    """
    return _merged_view(profiles).to_pandas().reindex(columns=list(_FIGURES)).rename(columns=_FIGURES)


def _merged_view(profiles: Sequence[bytes]) -> DatasetProfileView:
    if not profiles:
        raise ValueError("no profiles to merge")
    _whylogs()
    from whylogs.core.view.dataset_profile_view import DatasetProfileView

    view = DatasetProfileView.deserialize(profiles[0])
    for data in profiles[1:]:
        view = view.merge(DatasetProfileView.deserialize(data))
    return view
