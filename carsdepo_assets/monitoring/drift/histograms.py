"""Histograms that two samples share, cut twice.

coarse   at the reference's quantiles, or its levels where it has few: in these drift is measured and shown.
cells    at the quantiles of both samples together, with finer ones in the tails: in these it is looked for. The null
         is of both together, too, so a cut must not know which photographs are the reference's. The tails, because
         half a night among bright days lies wholly below the reference's darkest tenth.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

RARE = 0.02  # share of both samples under which a level is counted as OTHER
OTHER = "other"
TAILS = (0.01, 0.02, 0.05)  # shares of both samples beyond the finer cuts, on either side


@dataclass(frozen=True)
class Bins:
    """How one feature is cut. labels: one a coarse bin, as people read them; starts: the first fine bin of each.

    cuts: ascending inner edges of an ordered feature, fine bin i is [cuts[i-1], cuts[i]); None: an unordered one, whose
    bins, fine and coarse, are its levels and, last, OTHER. cells: which of the cuts (levels) are looked at for a test.
    """

    name: str
    labels: tuple[str, ...]
    starts: tuple[int, ...]
    cuts: np.ndarray | None
    cells: np.ndarray

    def __len__(self) -> int:
        """Number of fine bins."""
        return len(self.labels) if self.cuts is None else len(self.cuts) + 1

    def coarse(self, fine: np.ndarray) -> np.ndarray:
        """(..., fine bins) -> (..., coarse bins): sums."""
        return np.add.reduceat(fine, np.array(self.starts), axis=-1)

    def tested(self, fine: np.ndarray) -> np.ndarray:
        """(..., fine bins) -> (..., cells): the share below each cut, or of each level."""
        return (fine if self.cuts is None else np.cumsum(fine, axis=-1))[..., self.cells]

    @property
    def ordered(self) -> bool:
        return self.cuts is not None

    def codes(self, values: np.ndarray) -> np.ndarray:
        """Bin of each value, int64; -1 where it is NaN or None (not measured, not said)."""
        if self.cuts is not None:
            numbers = np.asarray(values, float)
            return np.where(np.isnan(numbers), -1, np.searchsorted(self.cuts, numbers, side="right"))
        place = {level: i for i, level in enumerate(self.labels[:-1])}
        levels, inverse = distinct(values)
        found = np.array([-1 if level is None else place.get(level, len(place)) for level in levels], np.int64)
        return found[inverse] if len(levels) else np.zeros(0, np.int64)


def distinct(values: np.ndarray) -> tuple[list[str | None], np.ndarray]:
    """Sorted distinct texts (None first, where there is any), and each value's index among them."""
    texts = np.array(["" if v is None else f"={v}" for v in values], dtype=str)
    names, inverse = np.unique(texts, return_inverse=True)
    return [str(n)[1:] if n else None for n in names], inverse.reshape(-1)


def ordered_bins(
    name: str, reference: np.ndarray, window: np.ndarray, most: int, weights: np.ndarray | None = None
) -> Bins:
    """reference, window: finite values, at least one each; weights: of the reference's.

    More than `most` distinct values of the reference: coarse cuts at its quantiles 1/most .. (most-1)/most, those that
    coincide once. Fewer: a bin a level, and one on either side for what the reference never was; so a constant
    reference still tells.
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


def unordered_bins(name: str, reference: np.ndarray, window: np.ndarray, most: int) -> Bins:
    """reference, window: texts, None where not said. The levels of at least RARE of both, the most frequent first."""
    levels, inverse = distinct(np.concatenate((reference, window)))
    counts = np.bincount(inverse, minlength=len(levels))
    said = [(int(c), level) for c, level in zip(counts, levels, strict=True) if level is not None]
    total = sum(c for c, _ in said)
    kept = [level for c, level in sorted(said, key=lambda s: (-s[0], s[1])) if c >= RARE * total and level != OTHER]
    labels = (*kept[:most], OTHER)
    return Bins(name, labels, tuple(range(len(labels))), None, np.arange(len(labels)))


def grouped_counts(
    groups: np.ndarray, bins: Sequence[Bins], codes: Sequence[np.ndarray], weights: np.ndarray | None
) -> np.ndarray:
    """(groups, all bins of all features one after the other) float32: photographs, or their weights.

    groups: (n,) 0 .. G-1. A photograph whose code is -1 counts in no bin of that feature.
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


def _quantiles(values: np.ndarray, at: np.ndarray, weights: np.ndarray | None) -> np.ndarray:
    """Values below which a share `at` of the weight lies (the inverse of the empirical distribution function)."""
    order = np.argsort(values, kind="stable")
    mass = np.cumsum(np.ones(len(values)) if weights is None else weights[order])
    return np.asarray(values[order][np.searchsorted(mass, at * mass[-1], side="left")], float)


def _between(cuts: np.ndarray) -> tuple[str, ...]:
    text = [f"{c:.3g}" for c in cuts]
    return (f"< {text[0]}", *(f"{a} to {b}" for a, b in pairwise(text)), f"≥ {text[-1]}")
