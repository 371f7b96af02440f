"""monitoring/drift/test.py: drift is detected, sized from below and explained; missing data are never "no drift"."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from carsdepo_assets.monitoring.drift.feature_sample import FeatureSample
from carsdepo_assets.monitoring.drift.histograms import OTHER, ordered_bins, unordered_bins
from carsdepo_assets.monitoring.drift.test import band, measure
from carsdepo_assets.policy import MonitoringPolicy
from carsdepo_assets_tests.monitoring.monitored_lake import cars, looks

RULES = MonitoringPolicy(resamples=400)


def sample(
    n: int,
    seed: int,
    night: float = 0.0,
    *,
    tag: str = "",
    sources: bool = True,
    dtype: Any = object,
) -> FeatureSample:
    """Photographs of cars with six at most; the dark ones come from `mobile`, of the others every second one."""
    rng = np.random.default_rng(seed)
    car = cars(rng, n)
    dark = (np.arange(int(car.max()) + 1) < round(night * (car.max() + 1)))[car]
    source = np.where(dark, "mobile", np.where(car % 2 == 0, "mobile", "web")).astype(dtype)
    tag = tag or f"s{seed}"
    return FeatureSample(
        ids=[f"{tag}-{i}" for i in range(n)],
        features=dict(looks(rng, car, night)),
        groups=[f"{tag}-car{c}" for c in car],
        sources={"source": source} if sources else {},
    )


def of(values: np.ndarray, tag: str, *, groups: list[str] | None = None, name: str = "x") -> FeatureSample:
    """One feature; each photograph its own car unless told."""
    ids = [f"{tag}{i}" for i in range(len(values))]
    return FeatureSample(ids, {name: values}, groups or ids)


def test_a_mixture_of_known_size_is_bounded_from_below() -> None:
    """20 % come from where the reference never was: total variation 0.2, and drift says no more than that."""
    rng = np.random.default_rng(1)
    reference = of(rng.uniform(0, 1, 4000), "r")
    window = of(np.concatenate((rng.uniform(0, 1, 1600), rng.uniform(2, 3, 400))), "w")
    drift = measure(reference, window, RULES)
    assert drift.detected
    assert drift.worst == "x"
    # All of the 20 % lies in the last tenth: TV on tenths is 0.8 * 0.1 + 0.2 - 0.1 = 0.18. Chance's share goes off.
    assert drift.features[0].tv == pytest.approx(0.18, abs=0.02)
    assert drift.drift is not None
    assert 0.13 < drift.drift < 0.18
    assert drift.low is not None
    assert drift.high is not None
    assert drift.low < drift.drift < drift.high
    assert drift.high < 0.2
    assert band(drift, RULES) == "high"


def test_a_world_apart_is_all_of_it() -> None:
    rng = np.random.default_rng(2)
    drift = measure(
        of(rng.normal(0, 1, 1000), "r"),
        of(rng.normal(50, 1, 300), "w"),
        RULES,
    )
    assert drift.drift is not None
    # The last tenth of the reference is the most that tenths can tell it from: 0.9, less chance's share.
    assert 0.84 < drift.drift <= 0.9
    assert drift.features[0].window[-1] == pytest.approx(1.0)


def test_levels_of_texts_are_compared_whole() -> None:
    reference = of(np.array(["web"] * 500 + ["mobile"] * 500, object), "r", name="source")
    window = of(np.array(["web"] * 100 + ["mobile"] * 100 + ["kiosk"] * 50, object), "w", name="source")
    drift = measure(reference, window, RULES)
    assert drift.detected
    assert drift.drift == pytest.approx(0.2, abs=0.04)
    (feature,) = drift.features
    assert "kiosk" in feature.labels
    assert feature.reference_median is None


def test_the_same_car_again_and_again_is_one_car() -> None:
    """Forty copies of one odd photograph among sixty ordinary ones: forty cars would be drift, one car is not."""
    rng = np.random.default_rng(3)
    reference = of(rng.normal(0, 1, 600), "r")
    values = np.concatenate((rng.normal(0, 1, 60), np.full(40, 4.0)))
    own = of(values, "w")
    one_car = of(values, "w", groups=[*own.ids[:60], *["the car"] * 40])
    assert measure(reference, own, RULES).detected
    drift = measure(reference, one_car, RULES)
    assert drift.computed
    assert not drift.detected
    assert drift.drift == 0.0


def test_groups_of_the_window_larger_than_the_references_do_not_alarm() -> None:
    """Nothing changed but that each car of the window has six near copies; the reference has single photographs."""
    alarms = 0
    for seed in range(60):
        rng = np.random.default_rng(100 + seed)
        car = np.repeat(np.arange(25), 6)
        window = of(rng.normal(size=25)[car] + 0.05 * rng.normal(size=150), "w", groups=[f"c{c}" for c in car])
        alarms += bool(measure(of(rng.normal(size=400), "r"), window, RULES, seed).detected)
    assert alarms <= 3  # 60 at 1 %: 4 or more would happen 3 times in 1,000


@pytest.mark.parametrize(("n", "reference"), [(50, 400), (200, 150)])
def test_false_alarms_keep_to_alpha(n: int, reference: int) -> None:
    """Also with a reference that is smaller than the window. At 5 % since that needs fewer windows to see."""
    policy = RULES.model_copy(update={"alpha": 0.05, "resamples": 200})
    alarms = sum(
        bool(measure(sample(reference, 2 * s, tag="r"), sample(n, 2 * s + 1, tag="w"), policy, s).detected)
        for s in range(120)
    )
    assert 0 < alarms <= 14  # 120 at 5 %: 15 or more 3 times in 1,000, none 2 times in 1,000


def test_a_night_is_found_named_and_traced() -> None:
    drift = measure(sample(600, 1), sample(300, 2, night=0.3), RULES)
    assert drift.detected
    assert drift.worst in ("luma_p95", "luma_mean", "luma_std")
    assert drift.drift is not None
    assert 0.08 < drift.drift < 0.4
    top = drift.sources[0]
    assert (top.attribute, top.value) == ("source", "mobile")
    assert top.excess > 0.1
    significant = {f.name for f in drift.features if f.significant}
    assert "luma_mean" in significant
    assert not significant & {"saturation", "colour_cast", "bits_per_pixel", "aspect", "megapixels"}
    assert all(f.drift == 0 for f in drift.features if not f.significant)


def test_the_most_drifted_photographs_are_the_dark_ones() -> None:
    window = sample(300, 2, night=0.3)
    drift = measure(sample(600, 1), window, RULES)
    first = [image for image, _ in drift.drifted[:40]]
    dark = {i for i, luma in zip(window.ids, window.features["luma_mean"], strict=True) if luma < 80}
    assert set(first) <= dark
    shares = [share for _, share in drift.drifted]
    assert shares == sorted(shares, reverse=True)
    assert min(shares) > 0
    assert max(shares) <= 1


def test_a_photograph_sent_twice_is_named_once() -> None:
    window = sample(300, 2, night=0.3)
    twice = replace(window, ids=[f"p{i // 2}" for i in range(300)])
    names = [image for image, _ in measure(sample(600, 1), twice, RULES).drifted]
    assert len(names) == len(set(names))


def test_the_same_input_gives_the_same_answer() -> None:
    a, b = sample(300, 1), sample(120, 2, night=0.2)
    assert measure(a, b, RULES, 7) == measure(a, b, RULES, 7)


def test_order_and_names_of_cars_do_not_matter() -> None:
    a, b = sample(400, 1), sample(200, 2, night=0.5)
    turned = np.random.default_rng(0).permutation(200)
    other = FeatureSample(
        [b.ids[i] for i in turned],
        {k: v[turned] for k, v in b.features.items()},
        [f"z{b.groups[i]}" for i in turned],
        sources={k: v[turned] for k, v in b.sources.items()},
    )
    one, two = measure(a, b, RULES), measure(a, other, RULES)
    assert (one.detected, one.worst) == (two.detected, two.worst)
    assert one.drift == pytest.approx(two.drift, abs=0.03)


def test_too_few_is_unknown_and_never_none() -> None:
    drift = measure(sample(400, 1), sample(49, 2), RULES)
    assert (drift.computed, drift.detected, drift.drift) == (False, None, None)
    assert "49 photographs" in drift.reason
    assert band(drift, RULES) == "unknown"


def test_a_reference_that_is_too_small_is_unknown() -> None:
    drift = measure(sample(30, 1), sample(200, 2), RULES)
    assert not drift.computed
    assert "reference has 30" in drift.reason


def test_no_reference_is_unknown() -> None:
    drift = measure(None, sample(200, 2), RULES)
    assert not drift.computed
    assert "reference_profile" in drift.reason


def test_few_cars_are_unknown() -> None:
    window = sample(60, 2)
    few = replace(window, groups=[f"c{i % 3}" for i in range(60)])
    drift = measure(sample(400, 1), few, RULES)
    assert not drift.computed
    assert "3 cars" in drift.reason


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("where", ["reference", "window"])
def test_a_feature_that_was_not_measured_is_unknown(bad: float, where: str) -> None:
    a, b = sample(400, 1), sample(200, 2)
    (a if where == "reference" else b).features["sharpness"][3] = bad
    drift = measure(a, b, RULES)
    assert not drift.computed
    assert "sharpness" in drift.reason
    assert where in drift.reason


def test_a_feature_that_the_window_lacks_is_unknown() -> None:
    a, b = sample(400, 1), sample(200, 2)
    rest = {k: v for k, v in b.features.items() if k != "aspect"}
    drift = measure(a, replace(b, features=rest), RULES)
    assert not drift.computed
    assert "aspect" in drift.reason


def test_what_was_measured_on_a_part_is_compared_on_that_part() -> None:
    """The model's answers are known of a third of the reference: drift in them is found, the rest is left as it is."""
    rng = np.random.default_rng(8)
    a, b = sample(600, 1), sample(200, 2)
    score = np.where(np.arange(600) % 3 == 0, rng.normal(0.7, 0.1, 600), np.nan)
    a = replace(a, features={**a.features, "max_score": score}, partial=frozenset({"max_score"}))
    low = rng.normal(0.3, 0.1, 200)
    b = replace(b, features={**b.features, "max_score": low}, partial=frozenset({"max_score"}))
    drift = measure(a, b, RULES)
    assert drift.worst == "max_score"
    assert [f.name for f in drift.features if f.significant] == ["max_score"]
    same = replace(b, features={**b.features, "max_score": rng.normal(0.7, 0.1, 200)})
    assert not measure(a, same, RULES).detected


def test_what_hardly_anyone_says_is_left_out_with_its_reason() -> None:
    a, b = sample(400, 1), sample(200, 2)
    nobody = np.full(400, None, object)
    a = replace(a, features={**a.features, "camera": nobody})
    b = replace(b, features={**b.features, "camera": np.array(["A"] * 200, object)})
    drift = measure(a, b, RULES)
    assert drift.computed
    assert drift.left_out == {"camera": "known of 0 photographs of the reference"}
    assert "camera" not in {f.name for f in drift.features}


def test_a_constant_that_stays_is_no_drift_and_one_that_changes_is() -> None:
    rng = np.random.default_rng(0)
    noise = {"y": rng.normal(size=200)}
    a = of(np.full(300, 1.33), "r")
    a = replace(a, features={**a.features, "y": rng.normal(size=300)})
    still = of(np.full(200, 1.33), "w")
    assert not measure(a, replace(still, features={**still.features, **noise}), RULES).detected
    one = np.full(200, 1.33)
    one[0] = 0.75
    assert not measure(a, replace(still, features={"x": one, **noise}), RULES).detected
    half = np.where(np.arange(200) % 2 == 0, 1.33, 0.75)
    drift = measure(a, replace(still, features={"x": half, **noise}), RULES)
    assert drift.worst == "x"
    assert drift.drift == pytest.approx(0.5, abs=0.08)


def test_weights_of_the_reference_count() -> None:
    """Night photographs that the reference holds with the weight of a fifth: a fifth of a night is ordinary then."""
    a = sample(600, 1, night=0.05)
    dark = a.features["luma_mean"] < 80
    share = dark.mean()
    weights = np.where(dark, 0.2 / 0.8 * (1 - share) / share, 1.0)
    b = sample(200, 2, night=0.2)
    assert measure(a, b, RULES).detected
    assert not measure(replace(a, weights=weights), b, RULES).detected


def test_bad_weights_are_unknown() -> None:
    a = sample(400, 1)
    drift = measure(replace(a, weights=np.zeros(400)), sample(200, 2), RULES)
    assert not drift.computed
    assert "weights" in drift.reason


@pytest.mark.parametrize(
    ("drift", "expected"),
    [(0.0, "low"), (0.0499, "low"), (0.05, "middle"), (0.0799, "middle"), (0.08, "high"), (1.0, "high")],
)
def test_bands_are_half_open_and_what_was_detected_is_never_none(drift: float, expected: str) -> None:
    measured = measure(sample(600, 1), sample(300, 2, night=0.3), RULES)
    assert band(replace(measured, drift=drift), RULES) == expected
    assert band(replace(measured, detected=False, drift=0.0), RULES) == "none"
    assert band(replace(measured, computed=False, drift=None), RULES) == "unknown"


def test_bins_hold_every_value_and_name_what_the_reference_never_was() -> None:
    reference, window = np.array([1.0, 1.0, 2.0, 4.0]), np.array([0.0, 2.0, 9.0])
    bins = ordered_bins("x", reference, window, 10)
    assert bins.labels == ("< 1", "1", "2", "4", "> 4")
    coarse = [int(np.searchsorted(bins.starts, c, side="right") - 1) for c in bins.codes(window)]
    assert [bins.labels[c] for c in coarse] == ["< 1", "2", "> 4"]
    assert bins.codes(np.array([np.nan])).tolist() == [-1]


def test_coarse_bins_are_the_references_tenths() -> None:
    rng = np.random.default_rng(4)
    reference = rng.normal(size=5000)
    bins = ordered_bins("x", reference, rng.normal(3, 1, size=200), 10)
    fine = np.bincount(bins.codes(reference), minlength=len(bins)) / 5000
    np.testing.assert_allclose(bins.coarse(fine), 0.1, atol=0.001)


def test_rare_levels_are_counted_together() -> None:
    many = np.array([f"c{i}" for i in range(100)] + ["A"] * 300 + [None], object)
    bins = unordered_bins("camera", many, many, 10)
    assert bins.labels == ("A", OTHER)
    assert bins.codes(np.array(["A", "c3", None, "new"], object)).tolist() == [0, 1, -1, 1]
