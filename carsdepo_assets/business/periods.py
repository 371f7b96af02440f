"""Time in KPIs: before and after the platform, months, the last days. All of it in UTC."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, timedelta

import pandas as pd


@dataclass(frozen=True)
class Point:
    """One step of a trend. label: a month YYYY-MM, or what the step is; value None: nothing to compute it from.

    at: ISO time at which a chart shows it; empty: the middle of the month.
    """

    label: str
    value: float | None
    n: int
    at: str = ""


@dataclass(frozen=True)
class KpiPeriod:
    """rows from `start` (exclusive) to `end`, the newest row's time; None, None without rows."""

    rows: pd.DataFrame
    start: pd.Timestamp | None
    end: pd.Timestamp | None

    def said(self) -> str:
        return "" if self.end is None or self.start is None else f"{self.start:%d %b %Y} to {self.end:%d %b %Y}"


def past(rows: pd.DataFrame, column: str, now: datetime) -> pd.DataFrame:
    """The rows with a time, not after now; the column is in UTC (a time without zone is UTC)."""
    times = pd.to_datetime(rows[column], utc=True)
    return rows.assign(**{column: times})[times.notna() & (times <= pd.Timestamp(now))]


def left_out(rows: pd.DataFrame, column: str, now: datetime) -> int:
    """Rows dated after now."""
    return int((pd.to_datetime(rows[column], utc=True) > pd.Timestamp(now)).sum())


def split(rows: pd.DataFrame, column: str, baseline_until: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """(before, after): the day `baseline_until` is the last one of before, until midnight UTC."""
    border = pd.Timestamp(date.fromisoformat(baseline_until) + timedelta(days=1), tz="UTC")
    before = rows[column] < border
    return rows[before], rows[~before]


def last_days(rows: pd.DataFrame, column: str, days: int) -> KpiPeriod:
    """The rows of the last days up to the newest row: files that come monthly still have a "now"."""
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
    """figure (value, n) of each month, from the first with rows to the last; None for one between without rows.

    live_since: when production served its first model. Its month is two points where it has rows on both sides: in one
    point the days with a model would show as a change before it.
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
