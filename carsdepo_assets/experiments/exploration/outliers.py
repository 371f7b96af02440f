"""Photographs that differ from the others, each with the reason in words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

# Robust deviations (0.6745 (x - median) / MAD; Iglewicz and Hoaglin 1993 name 3.5) from which a photograph is one.
LIMIT = 3.5
FEWEST = 8  # photographs: fewer have no ordinary
LARGE_BOX = 0.6  # share of the photograph that one damage covers
# quality: name, what less and more of it is called, whether its logarithm is compared
_QUALITIES: Mapping[str, tuple[str, str, str, bool]] = {
    "luma_mean": ("mean brightness", "darker", "brighter", False),
    "luma_std": ("contrast", "flatter", "of more contrast", False),
    "sharpness": ("sharpness", "blurrier", "sharper or noisier", True),
    "saturation": ("saturation", "paler", "more colourful", False),
    "colour_cast": ("colour cast", "more neutral", "of a stronger colour cast", True),
    "aspect": ("width over height", "taller", "wider", True),
    "megapixels": ("megapixels", "smaller", "larger", True),
    "bits_per_pixel": ("bits per pixel", "more compressed", "less compressed", True),
}


@dataclass(frozen=True)
class Outlier:
    """A photograph that differs."""

    index: int
    """Its row among the photographs."""
    reasons: tuple[str, ...]
    """Why, the strongest first."""
    strength: float
    """The largest robust deviation."""
    kind: str
    """In what: a quality, `looks`, `boxes` or `large`."""


def outliers(photographs: pa.Table, distance: Mapping[str, float], most: int) -> list[Outlier]:
    """Finds the photographs that differ most, one a car, and no more than a third of them in the same thing.

    Args:
        photographs: rows of `selection.PHOTOGRAPHS`.
        distance: of image ids, to the nearest others by the backbone's features; photographs that were not measured
            are missing.
        most: how many at most.

    Returns:
        The strongest first; none where there are fewer than FEWEST photographs.
    """
    n = photographs.num_rows
    if n < FEWEST:
        return []
    ids = photographs["image_id"].to_pylist()
    reasons_by_index: dict[int, list[tuple[float, str, str]]] = {}

    def note(index: int, strength: float, kind: str, reason: str) -> None:
        reasons_by_index.setdefault(index, []).append((strength, kind, reason))

    for name, (words, less, more, by_log) in _QUALITIES.items():
        values = photographs[name].to_numpy(zero_copy_only=False).astype(float)
        for index, deviation, share in _deviating(values, by_log):
            direction = less if deviation < 0 else more
            middle = float(np.nanmedian(values))
            note(
                index, abs(deviation), name,
                f"{direction} than {_of_others(share)}: {words} {values[index]:.3g}, median {middle:.3g}",
            )  # fmt: skip
    far = np.array([distance.get(i, np.nan) for i in ids], float)
    for index, deviation, share in _deviating(far, by_log=False):
        if deviation > 0:
            note(
                index, deviation, "looks", f"looks unlike the others: farther from its nearest than {_of_others(share)}"
            )
    counts, largest = _boxes(photographs)
    for index, deviation, _ in _deviating(counts, by_log=False):
        if deviation > 0:
            note(index, deviation, "boxes", f"{counts[index]:.0f} boxes, median {np.nanmedian(counts):.0f}")
    for index in np.flatnonzero(largest > LARGE_BOX).tolist():
        note(index, LIMIT + largest[index], "large", f"one box covers {100 * largest[index]:.0f} % of the photograph")
    ranked = [
        Outlier(index, tuple(text for *_, text in sorted(reasons, reverse=True)), *max(reasons)[:2])
        for index, reasons in reasons_by_index.items()
    ]
    ranked.sort(key=lambda o: (-o.strength, ids[o.index]))
    return _one_a_group(ranked, photographs["group_id"].to_pylist(), most)


def robust_deviations(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The robust deviation of each value; 0 where it is missing, or where more than half of all are equal."""
    there = np.isfinite(values)
    deviations = np.zeros(len(values))
    if not there.any():
        return deviations
    moved = values[there] - np.median(values[there])
    spread = float(np.median(np.abs(moved)))
    if spread > 1e-9:
        deviations[there] = 0.6745 * moved / spread
    return deviations


def _deviating(values: NDArray[np.float64], by_log: bool) -> list[tuple[int, float, float]]:
    """Index, robust deviation, and the share of the others that lie on the near side, of the values beyond LIMIT."""
    compared = np.log(np.maximum(values, 1e-6)) if by_log else values
    deviations = robust_deviations(compared)
    ordered = np.sort(compared[np.isfinite(compared)])
    listed = []
    for index in np.flatnonzero(np.abs(deviations) > LIMIT).tolist():
        below = np.searchsorted(ordered, compared[index], side="left")
        above = len(ordered) - np.searchsorted(ordered, compared[index], side="right")
        share = (below if deviations[index] > 0 else above) / max(1, len(ordered) - 1)
        listed.append((index, float(deviations[index]), float(share)))
    return listed


def _of_others(share: float) -> str:
    """A share of the other photographs in words; as 100 % only where it is all of them."""
    return "all others" if share >= 1 else f"{min(99.9, 100 * share):.1f} % of the others"


def _boxes(photographs: pa.Table) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The number of boxes of each photograph (nan: unlabelled), and the largest box's share of it."""
    lists = photographs["boxes"].combine_chunks()
    counts = np.array([np.nan if v is None else v for v in lists.value_lengths().to_pylist()], float)
    largest = np.zeros(len(counts))
    flat = lists.flatten()
    parents = np.repeat(np.arange(len(counts)), np.nan_to_num(counts).astype(int))
    x1, y1, x2, y2 = (flat.field(k).to_numpy(zero_copy_only=False) for k in ("x1", "y1", "x2", "y2"))
    width, height = (photographs[k].to_numpy(zero_copy_only=False).astype(float) for k in ("width", "height"))
    with np.errstate(divide="ignore", invalid="ignore"):
        shares = np.maximum(x2 - x1, 0) * np.maximum(y2 - y1, 0) / (width * height)[parents]
    np.maximum.at(largest, parents, np.where(np.isfinite(shares), shares, 0))
    return counts, largest


def _one_a_group(ranked: Sequence[Outlier], groups: Sequence[str | None], most: int) -> list[Outlier]:
    seen: set[str] = set()
    kinds: Counter[str] = Counter()
    chosen: list[Outlier] = []
    for outlier in ranked:
        group = groups[outlier.index]
        if group in seen or kinds[outlier.kind] >= max(1, most // 3):
            continue
        if group is not None:
            seen.add(group)
        kinds[outlier.kind] += 1
        chosen.append(outlier)
        if len(chosen) == most:
            break
    return chosen
