"""Twelve months of an invented business: inspections, transactions and disputes as the CSV files that it would send.

Until June people look at every photograph. The platform starts in July: the model decides more and more photographs
alone, so inspections cost less, cars sell sooner and fewer prices are disputed. In October a model that was not trained
on autumn light goes live: people must look at photographs again, and disputes rise. In November a better model follows.
Each month's files state the facts at the month's end: a car listed in May and sold in June is in both months' files,
and the later row counts.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

UNTIL = date(2026, 11, 24)  # the last day of the story; it began 12 months before, in December
LISTINGS_A_DAY = 8.0


@dataclass(frozen=True)
class Month:
    """How the business does in one month."""

    automation: float
    """Share of the photographs that the model decides alone."""
    disputes: float
    """Disputes about the price, per sale."""
    days: float
    """Median number of days from listing to sale."""


# One entry a month, December 2025 first. Sales are slow around the turn of the year, with the platform or without.
STORY = (
    Month(0.0, 0.088, 36), Month(0.0, 0.085, 37), Month(0.0, 0.090, 34),
    Month(0.0, 0.086, 31), Month(0.0, 0.084, 31), Month(0.0, 0.087, 32), Month(0.0, 0.085, 32),
    Month(0.28, 0.066, 26), Month(0.51, 0.050, 21), Month(0.66, 0.040, 18),
    Month(0.37, 0.079, 23), Month(0.76, 0.032, 16),
)  # fmt: skip
PLATFORM_STARTS = 7  # months of STORY in which people look at every photograph
FIRST_YEAR, FIRST_MONTH = 2025, 12
_OTHER_DISPUTES = 0.016  # per sale: about delivery or papers
_WAGE = 0.62  # EUR a minute of an inspector
_ML_IMAGE = 0.04  # EUR for a photograph that the model decides
_TRIP = 9.0  # EUR an inspection, with or without a model
_MINUTES_AN_IMAGE = 2.3
_COLUMNS: Mapping[str, tuple[str, ...]] = {
    "inspections": ("inspection_id", "listing", "at", "images", "images_by_ml", "minutes", "cost", "currency"),
    "transactions": ("transaction_id", "listing", "listed_at", "sold_at", "price", "currency"),
    "disputes": ("dispute_id", "transaction_id", "opened_at", "cause", "amount", "currency"),
}
Row = dict[str, Any]
Story = Callable[[datetime], Month]


@dataclass(frozen=True)
class BusinessSample:
    """The files of the invented business."""

    files: Mapping[str, bytes]
    """Bytes by key, such as `inspections/2026-07.csv`."""
    rows: Mapping[str, int]
    """Number of valid rows by kind; a row that is in several files counts once."""
    dirty: int
    """Number of rows that break a rule."""


def write_business(
    to: Path | Callable[[str, bytes], object],
    seed: int = 4,
    *,
    until: date = UNTIL,
    listings_a_day: float = LISTINGS_A_DAY,
) -> BusinessSample:
    """Writes the business's files, oldest month first.

    Into a lake: `write_business(lambda key, data: lake.put(f"raw/business/{key}", data))`.

    Args:
        to: A folder, or a function that takes each file's key and bytes.
        seed: Of the random numbers.
        until: The last day of the story.
        listings_a_day: Mean number of cars listed a day.

    Returns:
        What was written.
    """
    sample = business_sample(seed, until=until, listings_a_day=listings_a_day)
    for key, data in sample.files.items():
        if isinstance(to, Path):
            (to / key).parent.mkdir(parents=True, exist_ok=True)
            (to / key).write_bytes(data)
        else:
            to(key, data)
    return sample


def business_sample(seed: int = 4, *, until: date = UNTIL, listings_a_day: float = LISTINGS_A_DAY) -> BusinessSample:
    """The business's files in memory; the same arguments give the same bytes.

    Args:
        seed: Of the random numbers.
        until: The last day of the story.
        listings_a_day: Mean number of cars listed a day.

    Raises:
        ValueError: For a day outside the story, or no listings.
    """
    end = datetime(until.year, until.month, until.day, tzinfo=UTC)
    start = _month_start(0)
    if not start < end < _month_start(len(STORY)) or not listings_a_day > 0:
        raise ValueError(
            f"until {until} must lie in the story, {start:%Y-%m-%d} to {_month_start(len(STORY)):%Y-%m-%d}, "
            f"and listings_a_day {listings_a_day} be over 0"
        )
    rng = np.random.default_rng([0xB5, seed])
    inspections, transactions, disputes = events_of(rng, start, end, listings_a_day, _story)
    files: dict[str, bytes] = {}
    dirty = 0
    if end > _ORPHAN["opened_at"]:
        disputes.append(dict(_ORPHAN))
    for n in range(_month_of(end) + 1):
        begin, finish = _month_start(n), min(_month_start(n + 1), end)
        label = f"{begin:%Y-%m}"
        by_kind: dict[str, list[Row]] = {
            "inspections": [r for r in inspections if begin <= r["at"] < finish],
            "transactions": [
                as_of(r, finish)
                for r in transactions
                if begin <= r["listed_at"] < finish or begin <= r["sold_at"] < finish
            ],
            "disputes": [r for r in disputes if begin <= r["opened_at"] < finish],
        }
        for kind, rows in by_kind.items():
            bad = _DIRTY.get((kind, n), [])
            dirty += len(bad)
            files[f"{kind}/{label}.csv"] = rows_as_csv(kind, rows, bad)
    # Cars listed before the story and sold after its end are in no file.
    in_files = [r for r in transactions if r["listed_at"] >= start or r["sold_at"] < end]
    counts = {"inspections": len(inspections), "transactions": len(in_files), "disputes": len(disputes)}
    return BusinessSample(files, counts, dirty)


def events_of(
    rng: np.random.Generator, start: datetime, end: datetime, a_day: float, story: Story
) -> tuple[list[Row], list[Row], list[Row]]:
    """Draws a business's events.

    Args:
        rng: Source of the random numbers.
        start: First moment, with a zone.
        end: Last moment. Sales may lie after it: see `as_of`.
        a_day: Mean number of cars listed a day.
        story: How the business does in the month of a moment.

    Returns:
        Rows of inspections, transactions and disputes, each in order of time.
    """
    inspections: list[Row] = []
    transactions: list[Row] = []
    disputes: list[Row] = []
    # Cars listed three months before the story are sold in it: without them all of its first sales would be quick ones.
    day = start - timedelta(days=90)
    while day < end:
        busy = a_day * (0.55 if day.weekday() >= 5 else 1.18)
        for _ in range(int(rng.poisson(busy))):
            listed = day + timedelta(seconds=float(rng.uniform(7 * 3600, 20 * 3600)))
            sale = _sale(rng, listed, story)
            if sale["sold_at"] < start or listed >= end:
                continue
            transactions.append(sale)
            inspection = _inspection(rng, sale, story)
            if start <= inspection["at"] < end:
                inspections.append(inspection)
            dispute = _dispute(rng, sale, story)
            if dispute is not None and dispute["opened_at"] < end:
                disputes.append(dispute)
        day += timedelta(days=1)
    for rows, at, identity, mark in (
        (inspections, "at", "inspection_id", "I"),
        (transactions, "listed_at", "transaction_id", "T"),
    ):
        rows.sort(key=lambda r: r[at])
        for i, row in enumerate(rows, 1):
            row[identity] = f"{mark}{i:06d}"
    disputes.sort(key=lambda r: r["opened_at"])
    for i, row in enumerate(disputes, 1):
        row |= {"dispute_id": f"D{i:05d}", "transaction_id": row.pop("sale")["transaction_id"]}
    return inspections, transactions, disputes


def _sale(rng: np.random.Generator, listed: datetime, story: Story) -> Row:
    # The month of the sale decides how long it takes; two weeks after the listing stands for it.
    month = story(listed + timedelta(days=14))
    days = month.days * float(np.exp(rng.normal(0, 0.55)))
    price = float(np.exp(rng.normal(9.55, 0.5)))
    return {
        "listing": f"L{int(rng.integers(10**12)):013d}",
        "listed_at": listed,
        "sold_at": listed + timedelta(days=min(days, 240.0)),
        "price": round(price / 50) * 50.0,
        "currency": "EUR",
    }


def _inspection(rng: np.random.Generator, sale: Row, story: Story) -> Row:
    at = sale["listed_at"] - timedelta(hours=float(rng.uniform(1, 30)))
    images = int(np.clip(rng.normal(9, 2.5), 4, 18))
    by_ml = int(rng.binomial(images, story(at).automation))
    return {
        "listing": sale["listing"],
        "at": at,
        "images": images,
        "images_by_ml": by_ml,
        **effort(images, by_ml, float(rng.normal(0, 3))),
    }


def effort(images: int, by_ml: int, luck: float = 0.0) -> Row:
    """What one inspection takes.

    Args:
        images: Number of photographs.
        by_ml: How many of them the model decides alone.
        luck: Minutes that are added, or subtracted where negative.

    Returns:
        Columns `minutes` (of an inspector), `cost` and `currency`.
    """
    minutes = max(3.0, 5 + _MINUTES_AN_IMAGE * (images - by_ml) + 0.15 * by_ml + luck)
    cost = _TRIP + _WAGE * minutes + _ML_IMAGE * by_ml
    return {"minutes": round(minutes, 1), "cost": round(cost, 2), "currency": "EUR"}


def _dispute(rng: np.random.Generator, sale: Row, story: Story) -> Row | None:
    pricing = story(sale["sold_at"]).disputes
    draw = float(rng.random())
    if draw >= pricing + _OTHER_DISPUTES:
        return None
    cause = "other" if draw >= pricing else "damage" if rng.random() < 0.62 else "price"
    return {
        "sale": sale,
        "opened_at": sale["sold_at"] + timedelta(days=float(rng.gamma(2.0, 3.5))),
        "cause": cause,
        "amount": round(sale["price"] * float(rng.uniform(0.02, 0.12)), 2),
        "currency": "EUR",
    }


def as_of(sale: Row, moment: datetime) -> Row:
    """A sale's row as it stands at a moment: without date and price before the car is sold."""
    return sale if sale["sold_at"] < moment else sale | {"sold_at": None, "price": None}


def _month_of(moment: datetime) -> int:
    return (moment.year - FIRST_YEAR) * 12 + moment.month - FIRST_MONTH


def _month_start(n: int) -> datetime:
    months = FIRST_MONTH - 1 + n
    return datetime(FIRST_YEAR + months // 12, months % 12 + 1, 1, tzinfo=UTC)


def _story(moment: datetime) -> Month:
    return STORY[min(max(_month_of(moment), 0), len(STORY) - 1)]


def rows_as_csv(kind: str, rows: list[Row], bad: list[tuple[int, tuple[str, ...]]]) -> bytes:
    """A CSV file with a header.

    Args:
        kind: `inspections`, `transactions` or `disputes`.
        rows: Values by column.
        bad: Rows to insert as they are: position and cells.
    """
    lines = [tuple(_text(row[c]) for c in _COLUMNS[kind]) for row in rows]
    for position, cells in bad:
        lines.insert(min(position, len(lines)), cells)
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(_COLUMNS[kind])
    writer.writerows(lines)
    return out.getvalue().encode()


def _text(value: Any) -> str:
    if value is None:
        return ""
    return value.strftime("%Y-%m-%dT%H:%M:%SZ") if isinstance(value, datetime) else str(value)


# A dispute about a sale that is in no file: the row is valid, so it is kept, and the KPI report names it.
_ORPHAN: Row = {
    "dispute_id": "D99001",
    "transaction_id": "T990001",
    "opened_at": datetime(2026, 9, 14, 11, 0, tzinfo=UTC),
    "cause": "damage",
    "amount": 410.0,
    "currency": "EUR",
}
# Rows with the errors that offices make, by kind and month of the story: (position, cells). Each breaks one rule.
_DIRTY: Mapping[tuple[str, int], list[tuple[int, tuple[str, ...]]]] = {
    ("inspections", 2): [(17, ("X-01", "L0000000000001", "2026-02-11T10:05:00Z", "8", "0", "24", "n/a", "EUR"))],
    ("inspections", 7): [
        (
            40,
            ("X-02", "L0000000000002", "2026-07-09T08:30:00Z", "6", "11", "12", "21.5", "EUR"),
        ),  # more by the model than there are
        (90, ("X-03", "L0000000000003", "2062-07-20T09:00:00Z", "9", "3", "16", "23.1", "EUR")),  # 2026 mistyped
    ],
    ("transactions", 4): [
        (12, ("X-04", "L0000000000004", "2026-04-20T09:00:00Z", "2026-03-20T09:00:00Z", "9900", "EUR")),
        (60, ("X-05", "L0000000000005", "2026-04-02T09:00:00Z", "2026-04-29T09:00:00Z", "-1", "EUR")),
    ],
    ("transactions", 8): [(33, ("", "L0000000000006", "2026-08-02T09:00:00Z", "2026-08-29T09:00:00Z", "12500", "EUR"))],
    ("disputes", 5): [(3, ("X-07", "T000900", "2026-05-12T09:00:00Z", "weather", "120", "EUR"))],
    ("disputes", 10): [(5, ("X-08", "T001900", "12.10.2026", "damage", "340", "EUR"))],
}
