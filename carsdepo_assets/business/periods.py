"""Periods of the KPIs: before and after the platform's start, months, and the last days. All times are UTC."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, timedelta

import pandas as pd


@dataclass(frozen=True)
class Point:
    """One point of a trend."""

    label: str
    """The month as YYYY-MM, or what the point stands for."""
    value: float | None
    """The figure; None where there was nothing to compute it from."""
    n: int
    """The number of rows, boxes or answers that the value rests on."""
    at: str = ""
    """The ISO time at which a chart draws it; "": the middle of the month."""


@dataclass(frozen=True)
class KpiPeriod:
    """The rows of a period."""

    rows: pd.DataFrame
    start: pd.Timestamp | None
    """When the period begins, itself excluded; None without rows."""
    end: pd.Timestamp | None
    """The time of the newest row, itself included; None without rows."""

    def dates(self) -> str:
        """The first and the last day for people; "" without rows."""
        return "" if self.end is None or self.start is None else f"{self.start:%d %b %Y} to {self.end:%d %b %Y}"


def past(rows: pd.DataFrame, column: str, now: datetime) -> pd.DataFrame:
    """The rows that have a time in the column, not after `now`; times without a zone are taken as UTC."""
    times = pd.to_datetime(rows[column], utc=True)
    return rows.assign(**{column: times})[times.notna() & (times <= pd.Timestamp(now))]


def left_out(rows: pd.DataFrame, column: str, now: datetime) -> int:
    """The number of rows that are dated after `now`."""
    return int((pd.to_datetime(rows[column], utc=True) > pd.Timestamp(now)).sum())


def split(rows: pd.DataFrame, column: str, baseline_until: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The rows before the platform and those since; `baseline_until` (ISO date) is the last day before it, in UTC."""
    border = pd.Timestamp(date.fromisoformat(baseline_until) + timedelta(days=1), tz="UTC")
    before = rows[column] < border
    return rows[before], rows[~before]


def last_days(rows: pd.DataFrame, column: str, days: int) -> KpiPeriod:
    """The rows of the last days, counted back from the newest row and not from today: files may come monthly."""
    if rows.empty:
        return KpiPeriod(rows, None, None)
    end = rows[column].max()
    start = end - pd.Timedelta(days=days)
    return KpiPeriod(rows[rows[column] > start], start, end)


def monthly(
    rows: pd.DataFrame,
    column: str,
    figure: Callable[[pd.DataFrame], tuple[float | None, int]],
    live_since: datetime | None = None,
) -> tuple[Point, ...]:
    """A figure of each month, from the first month with rows to the last.

    Args:
        rows: The rows, with times in UTC.
        column: The column with the time.
        figure: Computes the value of some rows, and the number that it rests on.
        live_since: When production served its first model. That month gets two points, before and since, where it
            has rows on both sides; a single point would show the model's effect before the model.

    Returns:
        The points in order of time; a month without rows has the value None.
    """
    if rows.empty:
        return ()
    months = rows[column].dt.strftime("%Y-%m")
    # Periods know no zone; the months are already those of UTC.
    between = pd.period_range(months.min(), months.max(), freq="M").strftime("%Y-%m")
    by_month = {str(month): part for month, part in rows.groupby(months)}
    points: list[Point] = []
    for month in between:
        if month not in by_month:
            points.append(Point(month, None, 0))
            continue
        part = by_month[month]
        live = None if live_since is None else pd.Timestamp(live_since)
        if live is None or not part[column].min() < live <= part[column].max():
            points.append(Point(month, *figure(part)))
        else:
            old, new = part[part[column] < live], part[part[column] >= live]
            points.append(
                Point(f"{month}, before", *figure(old), _between(pd.Timestamp(f"{month}-01", tz="UTC"), live))
            )
            points.append(Point(f"{month}, since", *figure(new), _between(live, new[column].max())))
    return tuple(points)


def _between(a: pd.Timestamp, b: pd.Timestamp) -> str:
    return str((a + (b - a) / 2).isoformat())
