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
    """A JPEG of at most SIDE_PX, upright, without metadata; None where the photograph is not kept or not readable:
    erased on request, or the policy keeps none."""
    from carsdepo_assets.imaging.decode import BadImage, decode
    from carsdepo_assets.imaging.encode import encode_jpeg
    from carsdepo_assets.imaging.resize import fit_longest

    if key is None:
        return None
    try:
        found = decode(
            lake.get(key),
            max_bytes=limits.max_bytes,
            max_pixels=limits.max_pixels,
            min_side=1,
            at_least=SIDE_PX,
        )
    except (LakeError, BadImage):
        return None
    small, _ = fit_longest(found.rgb, SIDE_PX)
    return encode_jpeg(small, _QUALITY)


def one_a_group(indices: Iterable[int], groups: Sequence[str], most: int) -> list[int]:
    """The first of each group, in the order given, at most `most`."""
    seen: set[str] = set()
    chosen: list[int] = []
    for i in indices:
        if groups[i] not in seen and len(chosen) < most:
            seen.add(groups[i])
            chosen.append(i)
    return chosen


def typical(sample: FeatureSample, feature: str) -> list[int]:
    """Indices of the photographs from the most ordinary in that feature on: nearest to the median, or of the most
    frequent level; of equal ones by id."""
    values = sample.features[feature]
    there = sample.measured(feature)
    if values.dtype == object:
        said = values[there].astype(str)
        levels, counts = np.unique(said, return_counts=True)
        far = (values != (levels[counts.argmax()] if len(levels) else None)).astype(float)
    else:
        far = np.abs(values - np.nanmedian(values))
    order = np.lexsort((np.asarray(sample.ids, dtype=str), np.where(there, far, np.inf)))
    return [int(i) for i in order if there[i]]
