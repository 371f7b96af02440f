"""Small pictures of photographs in the lake, for reports."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from carsdepo_assets.lake.lake import Lake, LakeError
from carsdepo_assets.monitoring.drift.feature_sample import FeatureSample
from carsdepo_assets.policy import DataPolicy

SIDE_PX = 260
_QUALITY = 72


def report_thumbnail(lake: Lake, key: str | None, limits: DataPolicy) -> bytes | None:
    """A small JPEG of a photograph, upright and without metadata.

    Args:
        lake: where the photograph is.
        key: of the photograph in the lake; None: none is stored.
        limits: on what is decoded.

    Returns:
        The JPEG, at most SIDE_PX on its longest side; None where the photograph is not stored (any more: it may have
        been erased on request) or cannot be read.
    """
    from carsdepo_assets.imaging.decode import BadImage, decode
    from carsdepo_assets.imaging.encode import encode_jpeg
    from carsdepo_assets.imaging.resize import fit_longest

    if key is None:
        return None
    try:
        decoded = decode(
            lake.get(key),
            max_bytes=limits.max_bytes,
            max_pixels=limits.max_pixels,
            min_side=1,
            at_least=SIDE_PX,
        )
    except (LakeError, BadImage):
        return None
    small, _ = fit_longest(decoded.rgb, SIDE_PX)
    return encode_jpeg(small, _QUALITY)


def one_a_group(indices: Iterable[int], groups: Sequence[str], most: int) -> list[int]:
    """The first index of each group, in the order given, at most `most`. groups: of all photographs, by index."""
    seen: set[str] = set()
    chosen: list[int] = []
    for i in indices:
        if groups[i] not in seen and len(chosen) < most:
            seen.add(groups[i])
            chosen.append(i)
    return chosen


def typical(sample: FeatureSample, feature: str) -> list[int]:
    """Orders photographs by how ordinary they are in one feature: nearest to the median, or of the most frequent level.

    Args:
        sample: of photographs.
        feature: a name among its features.

    Returns:
        Indices of the photographs on which it was measured, the most ordinary first; equal ones by id.
    """
    values = sample.features[feature]
    there = sample.measured(feature)
    if values.dtype == object:
        texts = values[there].astype(str)
        levels, counts = np.unique(texts, return_counts=True)
        far = (values != (levels[counts.argmax()] if len(levels) else None)).astype(float)
    else:
        far = np.abs(values - np.nanmedian(values))
    order = np.lexsort((np.asarray(sample.ids, dtype=str), np.where(there, far, np.inf)))
    return [int(i) for i in order if there[i]]
