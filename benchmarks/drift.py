"""Drift: seconds for a day of 100,000 answers, false alarms without drift, and detections with a fifth of night.

The photographs are rendered once, 600 by day, overcast and dusk and 120 by night, and measured as the service does;
windows are drawn from them in whole cars. Where there is no drift, window and reference are a random cut of the same
600; where there is, 40 of the window's 200 photographs are night. Against: the usual test of single photographs,
scipy's two-sample Kolmogorov-Smirnov for each feature with Bonferroni's correction at the same alpha.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from carsdepo_assets.demo.sample.casting import LIGHT_MIX
from carsdepo_assets.demo.sample.render import photographs
from carsdepo_assets.demo.sample.write import encode, plan
from carsdepo_assets.imaging.decode import decode
from carsdepo_assets.imaging.features import features
from carsdepo_assets.monitoring.drift.feature_sample import FeatureSample
from carsdepo_assets.monitoring.drift.test import measure
from carsdepo_assets.monitoring.features import IMAGE
from carsdepo_assets.policy import MonitoringPolicy
from carsdepo_assets.quality import profiles

DAY = {name: share for name, share in LIGHT_MIX.items() if name != "night"}
DAY_PHOTOGRAPHS, NIGHT_PHOTOGRAPHS = 600, 120
WINDOW, NIGHT_SHARE = 200, 0.2
QUIET_WINDOWS, NIGHT_WINDOWS = 1000, 200
ANSWERS, REFERENCE = 100_000, 10_000
POLICY = MonitoringPolicy()
Car = list[dict[str, Any]]  # the photographs of one car: features and camera


@dataclass(frozen=True)
class Detected:
    """How many of a number of windows the two tests reported as drifted."""

    windows: int
    ours: int
    usual: int
    drift: list[float]
    """Our test's drift (0..1) of the windows that it reported."""


def cars(n: int, seed: int, lights: Mapping[str, float]) -> list[Car]:
    """Rendered cars with n photographs in all, as files and decoded again."""

    def one(planned: tuple[Any, int]) -> Car:
        car, count = planned
        rows: Car = []
        for _, photo in zip(range(count), photographs(car), strict=False):
            data = encode(photo)
            upright = decode(data, max_bytes=len(data), max_pixels=2**26, min_side=1)
            rows.append({**features(upright.rgb, len(data)), "camera": photo.metadata["camera"]})
        return rows

    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(one, plan(n, seed, lights, 0.3)))


def sample_of(chosen: Sequence[Car], tag: str) -> FeatureSample:
    """The features of some cars' photographs; each car is a group, whose name begins with tag."""
    rows = [row for car in chosen for row in car]
    values: dict[str, NDArray[Any]] = {name: np.array([r[name] for r in rows]) for name in IMAGE}
    values["aspect"] = values["aspect"].round(2)
    values["camera"] = np.array([r["camera"] for r in rows], dtype=object)
    return FeatureSample(
        [f"{tag}{i}" for i in range(len(rows))], values, [f"{tag}{i}" for i, car in enumerate(chosen) for _ in car]
    )


def cut(pool: Sequence[Car], n: int, rng: np.random.Generator) -> tuple[list[Car], list[Car]]:
    """Cars in random order until they have n photographs, and the rest."""
    order = [pool[i] for i in rng.permutation(len(pool))]
    ends = np.cumsum([len(car) for car in order])
    count = int(np.searchsorted(ends, n)) + 1
    return order[:count], order[count:]


def usual_test(reference: FeatureSample, window: FeatureSample) -> bool:
    """Kolmogorov-Smirnov on single photographs, p times the number of features."""
    least = min(stats.ks_2samp(reference.features[n], window.features[n], method="asymp").pvalue for n in IMAGE)
    return bool(least * len(IMAGE) <= POLICY.alpha)


def windows(
    day: Sequence[Car], night: Sequence[Car], n: int, share: float, seed: int
) -> Iterator[tuple[FeatureSample, FeatureSample]]:
    """(reference, window) n times; `share` of the window's photographs are of night."""
    rng = np.random.default_rng(seed)
    for _ in range(n):
        window, reference = cut(day, round(WINDOW * (1 - share)), rng)
        dark = cut(night, round(WINDOW * share), rng)[0] if share else []
        yield sample_of(reference, "r"), sample_of([*window, *dark], "w")


def count(day: Sequence[Car], night: Sequence[Car], n: int, share: float, seed: int) -> Detected:
    """Runs both tests on n windows; see `windows` for the arguments."""
    ours = usual = 0
    drift = []
    for i, (reference, window) in enumerate(windows(day, night, n, share, seed)):
        measured = measure(reference, window, POLICY, seed=i)
        if not measured.computed or measured.drift is None:
            raise RuntimeError(f"window {i} was not computed: {measured.reason}")
        usual += usual_test(reference, window)
        if measured.detected:
            ours += 1
            drift.append(measured.drift)
    return Detected(n, ours, usual, drift)


def large(n: int, seed: int) -> FeatureSample:
    """n answers of cars with one to six photographs, 17 features."""
    rng = np.random.default_rng(seed)
    group = np.sort(rng.integers(0, n * 10 // 31, n))
    values: dict[str, NDArray[Any]] = {f"x{i}": rng.normal(size=n) + rng.normal(size=n)[group] for i in range(13)}
    values["boxes"] = rng.poisson(1.2, n).astype(float)
    for name, levels in (("classes", 4), ("camera", 8), ("region", 5)):
        values[name] = rng.integers(0, levels, n).astype(str).astype(object)
    return FeatureSample([f"{seed}-{i}" for i in range(n)], values, [f"{seed}-{g}" for g in group])


def seconds_of_a_day() -> list[dict[str, Any]]:
    """Times one drift test on ANSWERS answers against whylogs' profile and scipy's tests of them."""
    import pandas as pd

    reference, window = large(REFERENCE, 1), large(ANSWERS, 2)
    start = time.perf_counter()
    measured = measure(reference, window, POLICY)
    ours = time.perf_counter() - start
    if not measured.computed or measured.detected:
        raise RuntimeError(f"two samples of one kind: computed {measured.computed}, detected {measured.detected}")
    frame = pd.DataFrame(dict(window.features))
    profiles.profile(frame.head(10), list(frame))  # whylogs is imported outside the clock
    start = time.perf_counter()
    profiles.profile(frame, list(frame))
    whylogs = time.perf_counter() - start
    start = time.perf_counter()
    for name, values in window.features.items():
        if values.dtype != object:
            stats.ks_2samp(reference.features[name], values, method="asymp")
    single = time.perf_counter() - start
    name = f"drift: {ANSWERS:,} answers against {REFERENCE:,}, {POLICY.resamples:,} shuffles"
    return [
        _row(name, ours, "s", f"whylogs profile of them alone: {whylogs:.2f} s", whylogs / ours),
        _row(name, ours, "s", f"scipy KS of each feature, single photographs: {single:.2f} s", single / ours),
    ]


def run() -> list[dict[str, Any]]:
    """Rows name, value, unit, against, ratio; ratio above 1: faster, fewer false alarms, more detections."""
    rows = seconds_of_a_day()
    day, night = cars(DAY_PHOTOGRAPHS, 11, DAY), cars(NIGHT_PHOTOGRAPHS, 12, {"night": 1.0})
    quiet = count(day, [], QUIET_WINDOWS, 0.0, 1)
    most = int(stats.binom.ppf(0.995, QUIET_WINDOWS, POLICY.alpha))
    rows.append(
        _row(
            f"drift: false alarms in {quiet.windows:,} windows of {WINDOW} photographs (alpha {POLICY.alpha})",
            quiet.ours,
            f"windows; by chance up to {most}",
            f"KS of single photographs: {quiet.usual}",
            quiet.usual / quiet.ours if quiet.ours else None,
        )
    )
    dark = count(day, night, NIGHT_WINDOWS, NIGHT_SHARE, 2)
    rows.append(
        _row(
            f"drift: windows with {100 * NIGHT_SHARE:.0f} % night found, of {dark.windows}",
            dark.ours,
            "windows",
            f"KS of single photographs, with its false alarms: {dark.usual}",
            dark.ours / dark.usual if dark.usual else None,
        )
    )
    if dark.drift:
        low, high = np.quantile(dark.drift, [0.05, 0.95])
        rows.append(
            _row(
                f"drift: mean of what {100 * NIGHT_SHARE:.0f} % night reads where it is found",
                100 * float(np.mean(dark.drift)),
                "%",
                f"nine in ten lie in {100 * low:.1f} to {100 * high:.1f}",
                None,
            )
        )
    return rows


def _row(name: str, value: float, unit: str, against: str, ratio: float | None) -> dict[str, Any]:
    return {
        "name": name,
        "value": value if isinstance(value, int) else round(value, 2),
        "unit": unit,
        "against": against,
        "ratio": None if ratio is None else round(ratio, 2),
    }


if __name__ == "__main__":
    for row in run():
        print(row)
