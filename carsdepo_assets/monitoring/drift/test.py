"""The drift test: whether a window of answers differs from the model's reference, how much, in what, and from where."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from carsdepo_assets.monitoring.drift.feature_sample import FeatureSample
from carsdepo_assets.monitoring.drift.histograms import Bins, distinct, ordered_bins, unordered_bins
from carsdepo_assets.monitoring.drift.permutation import HistogramComparison
from carsdepo_assets.policy import MonitoringPolicy

LEVEL = 0.95  # of the intervals
_STATED = 0.5  # share of the reference that must state an attribute before its values are compared


@dataclass(frozen=True)
class FeatureDrift:
    """The drift of one feature."""

    name: str
    ordered: bool
    """Whether the feature is a number."""
    statistic: float
    """Standardized by its null distribution."""
    p_value: float
    """Adjusted for all features together."""
    significant: bool
    tv: float
    """Total variation between the histograms, noise included."""
    drift: float
    """Lower bound on the share of traffic that changed, 0..1; 0 unless significant."""
    low: float
    """Of the drift's interval; 0 unless significant."""
    high: float
    labels: tuple[str, ...]
    """Of the coarse bins."""
    reference: tuple[float, ...]
    """The reference's histogram over `labels`; it sums to 1."""
    window: tuple[float, ...]
    """The window's histogram."""
    reference_median: float | None
    """None for an unordered feature."""
    window_median: float | None
    shared: float | None = None
    """Share of the drifted photographs that stand out in this feature too; None where none drifted."""


@dataclass(frozen=True)
class SourceShare:
    """How often one value of one attribute, such as a camera, occurs among the drifted photographs."""

    attribute: str
    value: str
    photographs: int
    """Of the window."""
    drifted: float
    """Its share of the drifted photographs that state the attribute, 0..1."""
    window: float
    """Its share of the window's photographs that state the attribute."""
    reference: float | None
    """Its share of the reference's; None where most of the reference does not state the attribute."""

    @property
    def excess(self) -> float:
        """How much larger its share of the drifted photographs is than its share of all, -1..1."""
        return self.drifted - self.window


@dataclass(frozen=True)
class Drift:
    """The result of a drift test."""

    computed: bool
    """False where the samples cannot be compared: drift is then unknown, which must not be read as "no drift"."""
    reason: str
    """Why it was not computed; empty where it was."""
    photographs: int
    """Of the window."""
    groups: int
    """Cars in the window."""
    detected: bool | None = None
    p_value: float | None = None
    """Of all features together."""
    drift: float | None = None
    """Of the worst feature, 0..1; 0 where no drift was detected."""
    low: float | None = None
    """Of the drift's interval."""
    high: float | None = None
    worst: str | None = None
    """The feature that drifted most."""
    features: tuple[FeatureDrift, ...] = ()
    """The significant ones first, by their drift."""
    sources: tuple[SourceShare, ...] = ()
    """The most over-represented first."""
    drifted: tuple[tuple[str, float], ...] = ()
    """(photograph's id, probability 0..1 that it belongs to what changed), the most drifted first."""
    left_out: Mapping[str, str] = field(default_factory=dict)
    """Features that were not compared, each with the reason."""
    reference_photographs: int = 0
    reference_groups: int = 0


def band(drift: Drift, policy: MonitoringPolicy) -> str:
    """The band of a drift by the policy: none, low, middle, high, or unknown where it was not computed.

    Drift that was detected is never in the band `none`, however small it is.
    """
    if not drift.computed or drift.drift is None:
        return "unknown"
    if not drift.detected:
        return "none"
    if drift.drift < policy.retrain_below:
        return "low"
    return "middle" if drift.drift < policy.no_retraining_from else "high"


def measure(reference: FeatureSample | None, window: FeatureSample, policy: MonitoringPolicy, seed: int = 0) -> Drift:
    """Tests whether a window differs from a reference, in three steps.

    1. Is there drift? Each feature's statistic, standardized by its null (permutation.py); detected when the maximum
       over features has p = (1 + #{maximum* >= maximum}) / (1 + resamples) <= policy.alpha. One feature's p is against
       the same maximum (Westfall & Young 1993, single step), so all together hold alpha.
    2. How much drift? tv = 1/2 sum |h_w - h_r|, m its mean under the null: drift = max(0, (tv - m) / (1 - m)) of
       features whose own p is <= alpha. As tv((1 - e) P + e Q, P) = e tv(Q, P) <= e, it is a lower bound on the share e
       of traffic that changed. The window's drift is the largest. Interval: see HistogramComparison.variation.
    3. In what, and from where? Of the photographs in a bin of the worst feature, the reference explains a share
       h_r / h_w; the rest, 1 - h_r / h_w, is each one's weight in the shares of sources and features among the drifted.

    Args:
        reference: of the model that answered; None where there is none.
        window: of its answers.
        policy: the section `monitoring`.
        seed: of the shuffling.

    Returns:
        The result. Samples that cannot be compared do not raise: the result is then not computed, with the reason.
    """
    groups = len(set(window.groups))
    problem = _problem(reference, window, policy)
    if problem or reference is None:
        return Drift(False, problem or "There is no reference.", len(window), groups)
    cuts, left_out = _cuts(reference, window, policy)
    counts = {
        "photographs": len(window),
        "groups": groups,
        "left_out": left_out,
        "reference_photographs": len(reference),
        "reference_groups": len(set(reference.groups)),
    }
    if not cuts:
        reasons = "; ".join(f"{name}: {why}" for name, why in left_out.items())
        return Drift(computed=False, reason=f"No feature can be compared: {reasons}", **counts)  # type: ignore[arg-type]
    comparison = HistogramComparison(reference, window, cuts, policy.resamples, seed)
    features = _features(comparison, reference, window, policy)
    drift = Drift(
        computed=True,
        reason="",
        p_value=min(f.p_value for f in features),
        detected=any(f.significant for f in features),
        drift=0.0,
        low=0.0,
        high=0.0,
        features=tuple(sorted(features, key=lambda f: (not f.significant, -f.drift, -f.statistic))),
        **counts,  # type: ignore[arg-type]
    )
    return _explained(drift, comparison, reference, window) if drift.detected else drift


def _problem(reference: FeatureSample | None, window: FeatureSample, policy: MonitoringPolicy) -> str | None:
    least = policy.min_photographs
    if reference is None:
        return "There is no reference of the model that answered: materialize `reference_profile`."
    for what, sample in (("window", window), ("reference", reference)):
        if len(sample) < least:
            return f"The {what} has {len(sample)} photographs: under {least} are too few to tell."
        cars = len(set(sample.groups))
        if cars < policy.min_groups:
            return f"The {what} shows {cars} cars: under {policy.min_groups} are too few to tell."
        problem = sample.problem(what)
        if problem:
            return problem
    missing = sorted(set(reference.features) - set(window.features))
    return (
        f"The window has no {', '.join(missing)}: a feature that was not measured makes drift unknown."
        if missing
        else None
    )


def _cuts(
    reference: FeatureSample, window: FeatureSample, policy: MonitoringPolicy
) -> tuple[list[Bins], dict[str, str]]:
    """Bins of the features that can be compared, and why the others cannot."""
    cuts: list[Bins] = []
    left_out: dict[str, str] = {}
    for name, values in reference.features.items():
        there = reference.measured(name)
        few = {
            what: int(measured.sum())
            for what, measured in (("reference", there), ("window", window.measured(name)))
            if measured.sum() < policy.min_photographs
        }
        if few:
            left_out[name] = " and ".join(f"known of {n} photographs of the {what}" for what, n in few.items())
            continue
        window_values = window.features[name][window.measured(name)]
        if values.dtype == object:
            cuts.append(unordered_bins(name, values[there], window_values, policy.bins))
        else:
            weights = None if reference.weights is None else reference.weights[there]
            cuts.append(ordered_bins(name, values[there], window_values, policy.bins, weights))
    return cuts, left_out


def _features(
    comparison: HistogramComparison, reference: FeatureSample, window: FeatureSample, policy: MonitoringPolicy
) -> list[FeatureDrift]:
    statistics, chance = comparison.statistics()
    largest = np.sort(chance.max(axis=1))
    reached = len(largest) - np.searchsorted(largest, statistics, side="left")
    features = []
    for i, cut in enumerate(comparison.bins):
        p_value = float((1 + reached[i]) / (1 + len(largest)))
        significant = p_value <= policy.alpha
        tv, mean, *interval = comparison.variation(i, LEVEL)
        drift, low, high = (
            float(np.clip((v - mean) / (1 - mean), 0, 1)) if significant else 0.0 for v in (tv, *interval)
        )
        part = comparison.parts[i]
        features.append(
            FeatureDrift(
                name=cut.name,
                ordered=cut.ordered,
                statistic=float(statistics[i]),
                p_value=p_value,
                significant=significant,
                tv=tv,
                drift=drift,
                low=low,
                high=high,
                labels=cut.labels,
                reference=tuple(cut.coarse(comparison.reference[part]).tolist()),
                window=tuple(cut.coarse(comparison.window[part]).tolist()),
                reference_median=float(np.nanmedian(reference.features[cut.name])) if cut.ordered else None,
                window_median=float(np.nanmedian(window.features[cut.name])) if cut.ordered else None,
            )
        )
    return features


def _explained(drift: Drift, comparison: HistogramComparison, reference: FeatureSample, window: FeatureSample) -> Drift:
    """With the worst feature, and what the photographs that drifted in it have in common."""
    worst = drift.features[0]
    names = [cut.name for cut in comparison.bins]
    share = comparison.excess(names.index(worst.name))
    total = float(share.sum())

    def shared(name: str) -> float | None:
        return float((share * (comparison.excess(names.index(name)) > 0)).sum() / total) if total else None

    far = _distance(reference.features[worst.name], window.features[worst.name])
    order = np.lexsort((np.asarray(window.ids, dtype=str), -far, -share))
    return replace(
        drift,
        drift=worst.drift,
        low=worst.low,
        high=worst.high,
        worst=worst.name,
        features=tuple(replace(f, shared=shared(f.name)) for f in drift.features),
        sources=_sources(reference, window, share),
        # Sent twice, a photograph is named once.
        drifted=tuple({window.ids[i]: round(float(share[i]), 4) for i in order[::-1] if share[i] > 0}.items())[::-1],
    )


def _distance(reference: NDArray[Any], window: NDArray[Any]) -> NDArray[Any]:
    """(n,) of the window: quartile ranges from the reference's median; zeros for texts. Orders those of one bin."""
    if reference.dtype == object:
        return np.zeros(len(window))
    low, middle, high = np.nanquantile(reference, [0.25, 0.5, 0.75])
    return np.nan_to_num(np.abs(window - middle) / max(high - low, 1e-9))


def _sources(reference: FeatureSample, window: FeatureSample, share: NDArray[Any]) -> tuple[SourceShare, ...]:
    """Every value of every attribute, the most over-represented first."""
    sources = []
    for attribute, values in window.sources.items():
        levels, index = distinct(values)
        there = np.array([level is not None for level in levels], bool)[index] if len(levels) else np.zeros(0, bool)
        n, total = int(there.sum()), float(share[there].sum())
        if not n or not total:
            continue
        counts = np.bincount(index, minlength=len(levels))
        weight = np.bincount(index, share, minlength=len(levels))
        before = _shares(reference, attribute)
        sources += [
            SourceShare(
                attribute=attribute,
                value=level,
                photographs=int(counts[k]),
                drifted=float(weight[k] / total),
                window=float(counts[k] / n),
                reference=None if before is None else before.get(level, 0.0),
            )
            for k, level in enumerate(levels)
            if level is not None
        ]
    return tuple(sorted(sources, key=lambda s: (-s.excess, -s.drifted, s.attribute, s.value)))


def _shares(reference: FeatureSample, attribute: str) -> dict[str, float] | None:
    """{value: share of the reference that states the attribute}; None where less than _SAID of it does."""
    values = [v for v in reference.sources.get(attribute, ()) if v is not None]
    if len(values) < _STATED * len(reference) or not values:
        return None
    levels, counts = np.unique(np.array(values, dtype=str), return_counts=True)
    return dict(zip(levels.tolist(), (counts / len(values)).tolist(), strict=True))
