"""Detects inputs that are missing more often than before: source, camera, region and listing of answers; camera, region
and time of photographs.

Drift compares values that are stated, so a form that stops sending the camera changes none of them. Here the share of
photographs without an input is compared between a window and the time before it, by whole cars: a car counts as missing
an input when any of its photographs misses it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import pyarrow as pa
import pyarrow.compute as pc

from carsdepo_assets.lake.image_metadata import read_images
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.policy import MonitoringPolicy

ANSWERS = ("source", "camera", "region", "listing")  # columns of INFERENCES
PHOTOGRAPHS = ("camera", "region", "captured_at")  # columns of IMAGES; captured_at comes from EXIF or a sidecar
BEFORE = timedelta(days=30)  # how far back the window is compared


@dataclass(frozen=True)
class MissingInput:
    """How often one input is missing, in a window and before it."""

    what: str
    """Whose input: answers or photographs."""
    name: str
    photographs: int
    """In the window."""
    share: float | None
    """Of them without the input, 0..1; None: there were no photographs."""
    photographs_before: int
    share_before: float | None
    p_value: float | None
    """Fisher's exact test, one-sided, on cars that miss the input; None where either side has too few cars."""
    risen: bool
    """Significant at monitoring.alpha over all inputs, and by at least monitoring.missing_rise."""


def missing_inputs(lake: Lake, start: datetime, end: datetime, policy: MonitoringPolicy) -> list[MissingInput]:
    """Compares a window with the time BEFORE it.

    Args:
        lake: where answers and photographs are.
        start: of the window, with a time zone.
        end: of the window; what happened at `end` itself is not in it.
        policy: the section `monitoring`.

    Returns:
        Each input of production's answers that were given in the window, and of the photographs that were ingested
        then.
    """
    answers = lake.read("inferences", columns=["at", "stage", "image_id", *ANSWERS])
    answers = answers.filter(pc.equal(answers["stage"], "production"))
    images = read_images(lake, ["ingested_at", "image_id", "listing", "group_hint", *PHOTOGRAPHS])
    number = len(ANSWERS) + len(PHOTOGRAPHS)
    result = []
    for what, table, at, names in (
        ("answers", answers, "at", ANSWERS),
        ("photographs", images, "ingested_at", PHOTOGRAPHS),
    ):
        now = _between(table, at, start, end).to_pylist()
        before = _between(table, at, start - BEFORE, start).to_pylist()
        result += [compare_missing(what, name, now, before, policy, number) for name in names]
    return result


def compare_missing(
    what: str,
    name: str,
    now: Sequence[Mapping[str, object]],
    before: Sequence[Mapping[str, object]],
    policy: MonitoringPolicy,
    number: int,
) -> MissingInput:
    """Compares how often one input is missing.

    Args:
        what: answers or photographs.
        name: of the input, a column of the rows.
        now: rows of the window, with image_id and listing.
        before: rows of the time before it.
        policy: the section `monitoring`.
        number: of inputs that share the error alpha (Bonferroni).
    """
    share, share_before = _share(name, now), _share(name, before)
    cars, cars_before = _cars(name, now), _cars(name, before)
    p_value = None
    if min(len(cars), len(cars_before)) >= policy.min_groups:
        p_value = fisher_greater(sum(cars.values()), len(cars), sum(cars_before.values()), len(cars_before))
    rise = (share or 0.0) - (share_before or 0.0)
    risen = p_value is not None and p_value <= policy.alpha / number and rise >= policy.missing_rise
    return MissingInput(what, name, len(now), share, len(before), share_before, p_value, risen)


def fisher_greater(hits: int, n: int, hits_before: int, n_before: int) -> float:
    """One-sided p-value of Fisher's exact test (Fisher 1935) that a share is greater than the share before.

    It is the tail of the hypergeometric distribution.

    Args:
        hits: cars that miss the input, of n.
        n: cars in the window.
        hits_before: cars that missed it before, of n_before.
        n_before: cars before the window.
    """
    from scipy.stats import hypergeom

    return float(hypergeom.sf(hits - 1, n + n_before, hits + hits_before, n))


def sentence(risen: Sequence[MissingInput]) -> str:
    """The inputs that are missing more often, each with both shares, as a sentence for the alert."""
    parts = [
        f"{m.name} is missing on {100 * (m.share or 0):.0f} % of {m.photographs:,} {m.what}, before on "
        f"{100 * (m.share_before or 0):.0f} % of {m.photographs_before:,}"
        for m in risen
    ]
    return f"{'; '.join(parts)}." if parts else ""


def _between(table: pa.Table, column: str, start: datetime, end: datetime) -> pa.Table:
    inside = pc.and_(pc.greater_equal(table[column], pa.scalar(start)), pc.less(table[column], pa.scalar(end)))
    return table.filter(inside)


def _missing(value: object) -> bool:
    return value is None or (isinstance(value, str) and not value.strip())


def _share(name: str, rows: Sequence[Mapping[str, object]]) -> float | None:
    return sum(_missing(row[name]) for row in rows) / len(rows) if rows else None


def _cars(name: str, rows: Sequence[Mapping[str, object]]) -> dict[object, bool]:
    """{car: whether any of its photographs misses the input}. One without listing and group is a car of its own."""
    cars: dict[object, bool] = {}
    for row in rows:
        car = row.get("group_hint") or row["listing"] or row["image_id"]
        cars[car] = cars.get(car, False) or _missing(row[name])
    return cars
