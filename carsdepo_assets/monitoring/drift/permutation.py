"""The difference between the histograms of two samples, and how large it gets by chance.

The null hypothesis says that one source sent both samples; then it is chance which groups (cars) came to which, and
shuffling whole groups between the two gives the differences that chance makes (Fisher's permutation test; exact for
groups that are exchangeable). Groups, since photographs of one car resemble each other. Shuffled among both and not
drawn from the reference alone: a reference is a sample itself. Drawn from a reference of 400 photographs alone, 11 % of
windows of 50 without drift had p <= 0.05; drawn from both with replacement, a fifth of a night among 200 photographs
was found half as often as by shuffling, which keeps the number of night cars as it is.

Groups are exchangeable where they are of one size. So both samples are first cut to common sizes: of the group at
quantile u of its sample's sizes, as many photographs count (at random) as the smaller of both samples' sizes at u. One
car photographed 60 times then counts as the reference's most photographed car does, and not for 60 cars. Of a car with
s photographs each counts 2 / (s + 1), the best weight where they correlate by a half: between one voice a photograph
and one a car (a fifth of a night among 200 photographs is found 84 times of 100 instead of 71).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from carsdepo_assets.monitoring.drift.feature_sample import FeatureSample
from carsdepo_assets.monitoring.drift.histograms import Bins, grouped_counts

_MANY = 2000  # groups on both sides from which on a sum over shuffled ones is taken as normal
_FINEST = 0.01  # share of photographs: finer differences than those of such a level are not looked for
_CELLS_AT_ONCE = 2**23  # resamples x groups


class HistogramComparison:
    """Two samples over common bins, with the difference between them and its distribution under the null.

    The histograms of all features lie one after the other in arrays of B bins.

    Attributes:
        reference: (B,) the reference's histograms; each feature's part sums to 1.
        window: (B,) the window's histograms.
        difference: (B,) window - reference, after both samples were cut to common sizes of groups.
        chance: (resamples, B) differences under the null.
        around: (resamples, B) the difference as the noise of each sample's own groups would move it.
        parts: where each feature's bins lie.
        bins: how each feature is cut.
        codes: of each feature, the fine bin of each photograph of the window.
    """

    def __init__(
        self, reference: FeatureSample, window: FeatureSample, bins: Sequence[Bins], resamples: int, seed: int
    ) -> None:
        self.bins = list(bins)
        widths = [len(b) for b in self.bins]
        starts = np.cumsum([0, *widths[:-1]])
        self.parts = [slice(int(s), int(s + w)) for s, w in zip(starts, widths, strict=True)]
        self.codes = [b.codes(window.features[b.name]) for b in self.bins]
        theirs = [b.codes(reference.features[b.name]) for b in self.bins]
        n = int(sum(widths))
        self.reference, self.window, self.difference = np.zeros(n), np.zeros(n), np.zeros(n)
        self.chance, self.around = np.zeros((resamples, n)), np.zeros((resamples, n))
        self._floor = np.zeros(len(bins))
        rng = np.random.default_rng(seed)
        # Features that were measured on the same photographs are shuffled together: their chance is one.
        for members in _measured_together(theirs, self.codes):
            cut = [self.bins[i] for i in members]
            reference_groups = _Groups.of(reference, cut, [theirs[i] for i in members])
            window_groups = _Groups.of(window, cut, [self.codes[i] for i in members])
            columns = np.concatenate([np.arange(self.parts[i].start, self.parts[i].stop) for i in members])
            self.reference[columns], self.window[columns] = reference_groups.share, window_groups.share
            reference_groups, window_groups = (
                reference_groups.cut_to_sizes_of(window_groups, rng),
                window_groups.cut_to_sizes_of(reference_groups, rng),
            )
            self.difference[columns] = window_groups.share - reference_groups.share
            self.chance[:, columns] = _shuffled(reference_groups, window_groups, resamples, rng)
            noise = window_groups.noise(resamples, rng) - reference_groups.noise(resamples, rng)
            self.around[:, columns] = self.difference[columns] + noise
            self._floor[members] = np.sqrt(
                _FINEST * (1 - _FINEST) * (1 / reference_groups.effective + 1 / window_groups.effective)
            )

    def statistics(self) -> tuple[NDArray[Any], NDArray[Any]]:
        """The test statistic of each feature: the largest |difference| / deviation over the cells of its bins.

        Compared are differences in the share of photographs below a cut (a tail that grows shows at the
        cut where it stands out best), or in the share of a level. The deviation is the null's, at least that of a level
        with a share of _FINEST.

        Returns:
            (F,) the statistics of the two samples, and (resamples, F) those under the null.
        """
        statistics, null_statistics = [], []
        for cut, part, floor in zip(self.bins, self.parts, self._floor, strict=True):
            null = cut.tested(self.chance[:, part])
            deviation = np.maximum(null.std(axis=0), floor)
            statistics.append(np.max(np.abs(cut.tested(self.difference[part])) / deviation))
            null_statistics.append(np.max(np.abs(null) / deviation, axis=1))
        return np.array(statistics), np.stack(null_statistics, axis=1)

    def variation(self, i: int, level: float) -> tuple[float, float, float, float]:
        """Total variation between the samples in feature i, over its coarse bins.

        The interval comes from the difference under both samples' noise, shifted so that its mean is the measured
        total variation: the noise enters a resample twice, and total variation grows with noise.

        Args:
            i: index of the feature.
            level: of the interval, such as 0.95.

        Returns:
            (total variation, its mean under the null, low and high of the interval).
        """
        part, coarse = self.parts[i], self.bins[i].coarse
        variation = float(total_variation(coarse(self.difference[part])))
        near = total_variation(coarse(self.around[:, part]))
        low, high = np.quantile(near, [(1 - level) / 2, (1 + level) / 2]) - (near.mean() - variation)
        return variation, float(total_variation(coarse(self.chance[:, part])).mean()), float(low), float(high)

    def excess(self, i: int) -> NDArray[Any]:
        """For each photograph of the window the probability that the reference does not explain it, by feature i.

        It is 1 - h_r / h_w of the photograph's fine bin (h: the share of the reference, of the window), at least 0; 0
        where the feature was not measured. (n,)
        """
        part, codes = self.parts[i], self.codes[i]
        h_r, h_w = self.reference[part], self.window[part]
        share = np.clip(1 - np.divide(h_r, h_w, out=np.ones_like(h_r), where=h_w > 0), 0, 1)
        return np.where(codes >= 0, share[codes], 0.0)


class _Groups:
    """The photographs on which all the given features were measured, by group.

    codes: (n,) fine bin of each photograph, one array a feature; group: (n,) 0 .. G-1, none empty; weights: (n,).
    counts: (G, B) by weight. mass: (G,) weights. share: (B,) histograms. effective: Kish's number of groups.
    """

    def __init__(
        self, bins: Sequence[Bins], codes: Sequence[NDArray[Any]], group: NDArray[Any], weights: NDArray[Any]
    ) -> None:
        self._bins, self._codes, self._group, self._weights = bins, codes, group, weights
        self.sizes = np.bincount(group)
        self.mass = np.bincount(group, weights)
        self.counts = grouped_counts(group, bins, codes, weights)
        self.share = self.counts.sum(axis=0, dtype=np.float64) / weights.sum()
        self.effective = float(self.mass.sum() ** 2 / (self.mass**2).sum())  # Kish 1965: (sum m)^2 / sum m^2

    @classmethod
    def of(cls, sample: FeatureSample, bins: Sequence[Bins], codes: Sequence[NDArray[Any]]) -> _Groups:
        there = codes[0] >= 0
        names = np.asarray(sample.groups, dtype=str)[there]
        weights = np.ones(len(names)) if sample.weights is None else np.asarray(sample.weights, float)[there]
        return cls(bins, [c[there] for c in codes], np.unique(names, return_inverse=True)[1].reshape(-1), weights)

    def cut_to_sizes_of(self, other: _Groups, rng: np.random.Generator) -> _Groups:
        """These groups with at most as many photographs as the other's group at the same quantile of sizes has, and
        the weights of photographs that share a car."""
        mine = np.lexsort((rng.random(len(self.sizes)), self.sizes))
        theirs = np.sort(other.sizes)
        at = (np.arange(len(mine)) + 0.5) / len(mine)
        most = np.empty(len(mine), np.int64)
        most[mine] = theirs[np.minimum((at * len(theirs)).astype(int), len(theirs) - 1)]
        order = np.lexsort((rng.random(len(self._group)), self._group))
        position = np.arange(len(order)) - np.repeat(np.cumsum(self.sizes) - self.sizes, self.sizes)
        kept = order[position < most[self._group[order]]]
        group = self._group[kept]
        weights = self._weights[kept] * (2 / (np.bincount(group) + 1))[group]
        return _Groups(self._bins, [c[kept] for c in self._codes], group, weights)

    def noise(self, resamples: int, rng: np.random.Generator) -> NDArray[Any]:
        """(resamples, B): the noise of `share`: the groups' deviations from it under random signs (wild cluster
        bootstrap, Cameron, Gelbach & Miller 2008). G / (G - 1): deviations from a mean of G are too small by that."""
        groups = len(self.mass)
        deviations = ((self.counts - self.mass[:, None] * self.share) / self.mass.sum()).astype(np.float32)
        if groups >= _MANY:
            sums = _normal(deviations, 1.0, resamples, rng)
        else:
            signs = rng.integers(0, 2, (resamples, groups), dtype=np.int8).astype(np.float32) * 2 - 1
            sums = (signs @ deviations).astype(np.float64)
        return sums * np.sqrt(groups / max(groups - 1, 1))


def _normal(rows: NDArray[Any], scale: float, resamples: int, rng: np.random.Generator) -> NDArray[Any]:
    """(resamples, B): normal draws with mean 0 and covariance scale * sum of v v' over the rows v."""
    values, vectors = np.linalg.eigh((rows.T @ rows).astype(np.float64))
    return np.asarray(
        rng.standard_normal((resamples, len(values))) @ (vectors * np.sqrt(np.clip(values, 0, None) * scale)).T
    )


def _shuffled(reference: _Groups, window: _Groups, resamples: int, rng: np.random.Generator) -> NDArray[Any]:
    """(resamples, B): window minus reference, after the groups were shuffled between them, as many to each as it had.

    With v_g = C_g - mass_g h (h: of both together), sum of all v = 0, and W the groups dealt to the window:
    difference = sum_W v_g (1 / mass_W + 1 / (mass - mass_W)).
    """
    mass = np.concatenate((reference.mass, window.mass))
    counts = np.concatenate((reference.counts, window.counts))
    share = counts.sum(axis=0, dtype=np.float64) / mass.sum()
    v = (counts - mass[:, None] * share).astype(np.float32)
    total, many, few = float(mass.sum()), len(mass), len(window.mass)
    if min(few, many - few) >= _MANY:  # sampling without replacement: covariance k (G - k) / (G (G - 1)) sum v v'
        usual = total * few / many
        scale = few * (many - few) / (many * (many - 1))
        return _normal(v, scale, resamples, rng) * (1 / usual + 1 / (total - usual))
    blocks = []
    step = max(1, _CELLS_AT_ONCE // many)
    for start in range(0, resamples, step):
        rows = min(step, resamples - start)
        picked = np.argpartition(rng.random((rows, many), dtype=np.float32), few - 1, axis=1)[:, :few]
        chosen = np.zeros((rows, many), np.float32)
        np.put_along_axis(chosen, picked, 1, axis=1)
        dealt = chosen @ mass.astype(np.float32)
        blocks.append((chosen @ v) * (1 / dealt + 1 / (total - dealt))[:, None])
    return np.concatenate(blocks).astype(np.float64)


def total_variation(difference: NDArray[Any]) -> NDArray[Any]:
    """Total variation of differences between histograms: half the sum of absolute values over the last axis."""
    return np.asarray(np.abs(difference).sum(axis=-1) / 2)


def _measured_together(reference: Sequence[NDArray[Any]], window: Sequence[NDArray[Any]]) -> Iterator[list[int]]:
    """Indices of the features that were measured on the same photographs of both samples."""
    blocks: dict[bytes, list[int]] = {}
    for i, (a, b) in enumerate(zip(reference, window, strict=True)):
        blocks.setdefault(np.packbits(np.concatenate((a >= 0, b >= 0))).tobytes(), []).append(i)
    yield from blocks.values()
