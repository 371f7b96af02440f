"""Cuts the values of a feature into bins that two samples share, and counts their photographs.

Each feature is cut twice:

coarse   at the reference's quantiles, or at its levels where it has few of them. In these bins drift is measured and
         shown.
cells    at the quantiles of both samples together, with finer ones in the tails. In these drift is looked for. The null
         distribution is of both samples together, too, so these cuts must not depend on which photographs are the
         reference's. The tails are finer because, for example, half a night among bright days lies wholly below the
         reference's darkest tenth.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

RARE = 0.02  # share of both samples under which a level is counted as OTHER
OTHER = "other"
TAILS = (0.01, 0.02, 0.05)  # shares of both samples beyond the finer cuts, on either side


@dataclass(frozen=True)
class Bins:
    """How one feature is cut. The fine bins are those of all cuts together."""

    name: str
    labels: tuple[str, ...]
    """Of the coarse bins, for people."""
    starts: tuple[int, ...]
    """The first fine bin of each coarse bin."""
    cuts: NDArray[np.float64] | None
    """Ascending inner edges of an ordered feature: fine bin i is [cuts[i-1], cuts[i]). None for an unordered feature,
    whose bins, fine and coarse, are its levels and, last, OTHER."""
    cells: NDArray[np.int64]
    """Indices of the cuts (of the levels) at which drift is looked for."""

    def __len__(self) -> int:
        """Number of fine bins."""
        return len(self.labels) if self.cuts is None else len(self.cuts) + 1

    def coarse(self, fine: NDArray[Any]) -> NDArray[Any]:
        """Sums fine bins to coarse ones: (..., fine bins) to (..., coarse bins)."""
        return np.add.reduceat(fine, np.array(self.starts), axis=-1)

    def tested(self, fine: NDArray[Any]) -> NDArray[Any]:
        """The share below each tested cut, or of each tested level: (..., fine bins) to (..., cells)."""
        return (fine if self.cuts is None else np.cumsum(fine, axis=-1))[..., self.cells]

    @property
    def ordered(self) -> bool:
        """Whether the feature is a number."""
        return self.cuts is not None

    def codes(self, values: NDArray[Any]) -> NDArray[np.int64]:
        """The fine bin of each value; -1 where it is NaN (not measured) or None (not stated)."""
        if self.cuts is not None:
            numbers = np.asarray(values, float)
            return np.where(np.isnan(numbers), -1, np.searchsorted(self.cuts, numbers, side="right"))
        place = {level: i for i, level in enumerate(self.labels[:-1])}
        levels, inverse = distinct(values)
        level_codes = np.array([-1 if level is None else place.get(level, len(place)) for level in levels], np.int64)
        return level_codes[inverse] if len(levels) else np.zeros(0, np.int64)


def distinct(values: NDArray[Any]) -> tuple[list[str | None], NDArray[np.int64]]:
    """The sorted distinct values (texts; None first, where there is any), and each value's index among them."""
    texts = np.array(["" if v is None else f"={v}" for v in values], dtype=str)
    names, inverse = np.unique(texts, return_inverse=True)
    return [str(n)[1:] if n else None for n in names], inverse.reshape(-1)


def ordered_bins(
    name: str, reference: NDArray[Any], window: NDArray[Any], most: int, weights: NDArray[Any] | None = None
) -> Bins:
    """Cuts an ordered feature.

    A reference with more than `most` distinct values is cut at its quantiles 1/most .. (most-1)/most. One with fewer
    gets a bin for each of its values and one on either side for values that it never has, so that drift shows against
    a constant reference too.

    Args:
        name: of the feature.
        reference: finite values, at least one.
        window: finite values, at least one.
        most: the number of coarse bins at quantiles.
        weights: of the reference's photographs; None: all are equal.
    """
    both = np.concatenate((reference, window))
    mass = None if weights is None else np.concatenate((weights, np.ones(len(window))))
    tails = np.array([t for t in TAILS if t < 1 / most])
    cells = np.unique(_quantiles(both, np.concatenate((np.arange(1, most) / most, tails, 1 - tails)), mass))
    levels = np.unique(reference)
    if len(levels) > most:
        coarse = np.unique(_quantiles(reference, np.arange(1, most) / most, weights))
        labels = _between(coarse)
    else:
        gap = float(np.diff(levels).min()) if len(levels) > 1 else max(abs(float(levels[0])) * 0.02, 1e-6)
        coarse = np.concatenate(([levels[0] - gap / 2], (levels[1:] + levels[:-1]) / 2, [levels[-1] + gap / 2]))
        labels = (f"< {levels[0]:.3g}", *(f"{v:.3g}" for v in levels), f"> {levels[-1]:.3g}")
    cuts = np.union1d(coarse, cells)
    starts = (0, *(np.searchsorted(cuts, coarse) + 1).tolist())
    return Bins(name, labels, starts, cuts, np.searchsorted(cuts, cells))


def unordered_bins(name: str, reference: NDArray[Any], window: NDArray[Any], most: int) -> Bins:
    """Cuts an unordered feature into its levels, the most frequent first, and OTHER for the rare ones.

    Args:
        name: of the feature.
        reference: texts, None where not stated.
        window: the same of the window.
        most: levels that get a bin of their own, at most; each has a share of at least RARE of both samples.
    """
    levels, inverse = distinct(np.concatenate((reference, window)))
    counts = np.bincount(inverse, minlength=len(levels))
    counted = [(int(c), level) for c, level in zip(counts, levels, strict=True) if level is not None]
    total = sum(c for c, _ in counted)
    kept = [level for c, level in sorted(counted, key=lambda s: (-s[0], s[1])) if c >= RARE * total and level != OTHER]
    labels = (*kept[:most], OTHER)
    return Bins(name, labels, tuple(range(len(labels))), None, np.arange(len(labels)))


def grouped_counts(
    groups: NDArray[Any], bins: Sequence[Bins], codes: Sequence[NDArray[Any]], weights: NDArray[Any] | None
) -> NDArray[Any]:
    """Counts photographs by group and bin.

    Args:
        groups: (n,) the group of each photograph, 0 .. G-1.
        bins: of each feature.
        codes: of each feature, (n,) the fine bin of each photograph; one with -1 counts in no bin of that feature.
        weights: (n,) of the photographs; None: each counts 1.

    Returns:
        (G, fine bins of all features one after the other): photographs, or their weights.
    """
    n = int(groups.max()) + 1 if len(groups) else 0
    width = sum(len(b) for b in bins)
    counts = np.zeros(n * width, np.float32)
    start = 0
    for cut, code in zip(bins, codes, strict=True):
        there = code >= 0
        cells = groups[there] * width + start + code[there]
        counts += np.bincount(cells, None if weights is None else weights[there], minlength=n * width)
        start += len(cut)
    return counts.reshape(n, width)


def _quantiles(values: NDArray[Any], at: NDArray[Any], weights: NDArray[Any] | None) -> NDArray[Any]:
    """Values below which a share `at` of the weight lies (the inverse of the empirical distribution function)."""
    order = np.argsort(values, kind="stable")
    mass = np.cumsum(np.ones(len(values)) if weights is None else weights[order])
    return np.asarray(values[order][np.searchsorted(mass, at * mass[-1], side="left")], float)


def _between(cuts: NDArray[Any]) -> tuple[str, ...]:
    text = [f"{c:.3g}" for c in cuts]
    return (f"< {text[0]}", *(f"{a} to {b}" for a, b in pairwise(text)), f"≥ {text[-1]}")
