"""Is a window of answers drawn from what the model knows; if not, how much of it changed, of what, from where."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from carsdepo_assets.monitoring.drift.feature_sample import FeatureSample
from carsdepo_assets.monitoring.drift.histograms import Bins, distinct, ordered_bins, unordered_bins
from carsdepo_assets.monitoring.drift.permutation import HistogramComparison
from carsdepo_assets.policy import MonitoringPolicy

LEVEL = 0.95  # of the intervals
_SAID = 0.5  # share of the reference that must state an attribute before its values are compared


@dataclass(frozen=True)
class FeatureDrift:
    """One feature. statistic: standardized by its null; p_value: adjusted for all features together.

    tv: total variation of the histograms, noise included. drift, low, high: 0..1; 0 unless significant. reference,
    window: histograms over `labels`, each sums to 1. *_median: None for an unordered feature.
    shared: share of the drifted photographs that stand out in this feature too; None where there are none.
    """

    name: str
    ordered: bool
    statistic: float
    p_value: float
    significant: bool
    tv: float
    drift: float
    low: float
    high: float
    labels: tuple[str, ...]
    reference: tuple[float, ...]
    window: tuple[float, ...]
    reference_median: float | None
    window_median: float | None
    shared: float | None = None


@dataclass(frozen=True)
class SourceShare:
    """One value of one attribute. drifted, window, reference: its share of each one's photographs that state the
    attribute; reference None: it hardly states it. photographs: in the window."""

    attribute: str
    value: str
    photographs: int
    drifted: float
    window: float
    reference: float | None

    @property
    def excess(self) -> float:
        """How much larger its share of the drifted photographs is than its share of all, -1..1."""
        return self.drifted - self.window


@dataclass(frozen=True)
class Drift:
    """What measure() found. computed False: nothing is known, `reason` says why; never to be read as "no drift".

    drift, low, high: 0..1 of the worst feature; 0 where nothing was detected. drifted: (id, probability 0..1 that the
    photograph is of what changed), most drifted first. left_out: features that were not compared, and why.
    """

    computed: bool
    reason: str
    photographs: int
    groups: int
    detected: bool | None = None
    p_value: float | None = None
    drift: float | None = None
    low: float | None = None
    high: float | None = None
    worst: str | None = None
    features: tuple[FeatureDrift, ...] = ()
    sources: tuple[SourceShare, ...] = ()
    drifted: tuple[tuple[str, float], ...] = ()
    left_out: Mapping[str, str] = field(default_factory=dict)
    reference_photographs: int = 0
    reference_groups: int = 0


def band(found: Drift, policy: MonitoringPolicy) -> str:
    """none | low | middle | high | unknown; half open, and what was detected is never `none`."""
    if not found.computed or found.drift is None:
        return "unknown"
    if not found.detected:
        return "none"
    if found.drift < policy.retrain_below:
        return "low"
    return "middle" if found.drift < policy.no_retraining_from else "high"


def measure(reference: FeatureSample | None, window: FeatureSample, policy: MonitoringPolicy, seed: int = 0) -> Drift:
    """The three steps. Data that cannot be compared raises nothing: computed is False then, with the reason.

    1. Is it there? Each feature's statistic, standardized by its null (resampling.py); detected when the maximum over
       features has p = (1 + #{maximum* >= maximum}) / (1 + resamples) <= policy.alpha. One feature's p is against the
       same maximum (Westfall & Young 1993, single step), so all together hold alpha.
    2. How much? tv = 1/2 sum |h_w - h_r|, m its mean under the null: drift = max(0, (tv - m) / (1 - m)) of features
       whose own p is <= alpha. As tv((1 - e) P + e Q, P) = e tv(Q, P) <= e, it is a lower bound on the share e of
       traffic that changed. The window's drift is the largest. Interval: see Comparison.variation.
    3. Of what, from where? Of the photographs in a bin of the worst feature, the reference explains a share h_r / h_w;
       the rest, 1 - h_r / h_w, is each one's weight in the shares of sources and features among the drifted.
    """
    groups = len(set(window.groups))
    problem = _problem(reference, window, policy)
    if problem or reference is None:
        return Drift(False, problem or "There is no reference.", len(window), groups)
    cuts, left_out = _cuts(reference, window, policy)
    known = {
        "photographs": len(window),
        "groups": groups,
        "left_out": left_out,
        "reference_photographs": len(reference),
        "reference_groups": len(set(reference.groups)),
    }
    if not cuts:
        said = "; ".join(f"{name}: {why}" for name, why in left_out.items())
        return Drift(computed=False, reason=f"No feature can be compared: {said}", **known)  # type: ignore[arg-type]
    compared = HistogramComparison(reference, window, cuts, policy.resamples, seed)
    features = _features(compared, reference, window, policy)
    found = Drift(
        computed=True,
        reason="",
        p_value=min(f.p_value for f in features),
        detected=any(f.significant for f in features),
        drift=0.0,
        low=0.0,
        high=0.0,
        features=tuple(sorted(features, key=lambda f: (not f.significant, -f.drift, -f.statistic))),
        **known,  # type: ignore[arg-type]
    )
    return _explained(found, compared, reference, window) if found.detected else found


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
    return f"The window has no {', '.join(missing)}: what was not measured is unknown." if missing else None


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
        met = window.features[name][window.measured(name)]
        if values.dtype == object:
            cuts.append(unordered_bins(name, values[there], met, policy.bins))
        else:
            weights = None if reference.weights is None else reference.weights[there]
            cuts.append(ordered_bins(name, values[there], met, policy.bins, weights))
    return cuts, left_out


def _features(
    compared: HistogramComparison, reference: FeatureSample, window: FeatureSample, policy: MonitoringPolicy
) -> list[FeatureDrift]:
    statistics, chance = compared.statistics()
    largest = np.sort(chance.max(axis=1))
    reached = len(largest) - np.searchsorted(largest, statistics, side="left")
    made = []
    for i, cut in enumerate(compared.bins):
        p_value = float((1 + reached[i]) / (1 + len(largest)))
        significant = p_value <= policy.alpha
        tv, mean, *interval = compared.variation(i, LEVEL)
        drift, low, high = (
            float(np.clip((v - mean) / (1 - mean), 0, 1)) if significant else 0.0 for v in (tv, *interval)
        )
        part = compared.parts[i]
        made.append(
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
                reference=tuple(cut.coarse(compared.reference[part]).tolist()),
                window=tuple(cut.coarse(compared.window[part]).tolist()),
                reference_median=float(np.nanmedian(reference.features[cut.name])) if cut.ordered else None,
                window_median=float(np.nanmedian(window.features[cut.name])) if cut.ordered else None,
            )
        )
    return made


def _explained(found: Drift, compared: HistogramComparison, reference: FeatureSample, window: FeatureSample) -> Drift:
    """With the worst feature, and what the photographs that drifted in it have in common."""
    worst = found.features[0]
    names = [cut.name for cut in compared.bins]
    share = compared.excess(names.index(worst.name))
    total = float(share.sum())

    def shared(name: str) -> float | None:
        return float((share * (compared.excess(names.index(name)) > 0)).sum() / total) if total else None

    far = _distance(reference.features[worst.name], window.features[worst.name])
    order = np.lexsort((np.asarray(window.ids, dtype=str), -far, -share))
    return replace(
        found,
        drift=worst.drift,
        low=worst.low,
        high=worst.high,
        worst=worst.name,
        features=tuple(replace(f, shared=shared(f.name)) for f in found.features),
        sources=_sources(reference, window, share),
        # Sent twice, a photograph is named once.
        drifted=tuple({window.ids[i]: round(float(share[i]), 4) for i in order[::-1] if share[i] > 0}.items())[::-1],
    )


def _distance(reference: np.ndarray, window: np.ndarray) -> np.ndarray:
    """(n,) of the window: quartile ranges from the reference's median; zeros for texts. Orders those of one bin."""
    if reference.dtype == object:
        return np.zeros(len(window))
    low, middle, high = np.nanquantile(reference, [0.25, 0.5, 0.75])
    return np.nan_to_num(np.abs(window - middle) / max(high - low, 1e-9))


def _sources(reference: FeatureSample, window: FeatureSample, share: np.ndarray) -> tuple[SourceShare, ...]:
    """Every value of every attribute, the most over-represented first."""
    made = []
    for attribute, values in window.sources.items():
        levels, index = distinct(values)
        there = np.array([level is not None for level in levels], bool)[index] if len(levels) else np.zeros(0, bool)
        n, total = int(there.sum()), float(share[there].sum())
        if not n or not total:
            continue
        counts = np.bincount(index, minlength=len(levels))
        weight = np.bincount(index, share, minlength=len(levels))
        before = _shares(reference, attribute)
        made += [
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
    return tuple(sorted(made, key=lambda s: (-s.excess, -s.drifted, s.attribute, s.value)))


def _shares(reference: FeatureSample, attribute: str) -> dict[str, float] | None:
    """{value: share of the reference that states the attribute}; None where less than _SAID of it does."""
    values = [v for v in reference.sources.get(attribute, ()) if v is not None]
    if len(values) < _SAID * len(reference) or not values:
        return None
    levels, counts = np.unique(np.array(values, dtype=str), return_counts=True)
    return dict(zip(levels.tolist(), (counts / len(values)).tolist(), strict=True))
