"""Arrivals of a simulated year: how many files come in each minute, and when the i-th of them came."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import overload

import numpy as np
from numpy.typing import NDArray

START = datetime(2027, 1, 1, tzinfo=UTC)  # a Friday
MINUTES = 1440
WEEK = (1.10, 1.10, 1.08, 1.06, 1.02, 0.84, 0.80)  # Monday first; their mean is 1
SLOW = 6  # files a minute, below which 20 seconds without a file happen


class Arrivals:
    """Files by minute, evenly spread within it.

    Args:
        counts: files in each minute since START.
    """

    def __init__(self, counts: NDArray[np.int64]) -> None:
        self._counts: list[int] = counts.tolist()
        self._before: list[int] = [0, *np.cumsum(counts).tolist()]
        self._slow: list[int] = np.flatnonzero(counts < SLOW).tolist()
        self.total = self._before[-1]

    def until(self, second: float) -> int:
        """How many files have come at a time."""
        minute = int(second // 60)
        if minute >= len(self._counts):
            return self.total
        within = math.floor(self._counts[minute] * (second - 60 * minute) / 60 + 0.5)
        return self._before[minute] + within

    def at(self, number: int) -> float:
        """When a file came, from 0, in seconds since START."""
        minute = bisect_right(self._before, number) - 1
        return 60 * minute + 60 * (number - self._before[minute] + 0.5) / self._counts[minute]

    def slow_from(self, second: float) -> float:
        """The next time from which 20 seconds without a file may pass."""
        minute = int(second // 60)
        place = bisect_left(self._slow, minute)
        slow = self._slow[place] if place < len(self._slow) else len(self._counts)
        return max(second, 60.0 * slow)


class Waiting(Sequence[datetime]):
    """The times of the files from one number to another, of which none is computed before it is asked for."""

    def __init__(self, arrivals: Arrivals, start: int, end: int) -> None:
        self._arrivals, self._start, self._end = arrivals, start, end

    def __len__(self) -> int:
        return self._end - self._start

    @overload
    def __getitem__(self, index: int) -> datetime: ...
    @overload
    def __getitem__(self, index: slice) -> list[datetime]: ...
    def __getitem__(self, index: int | slice) -> datetime | list[datetime]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        if not 0 <= index < len(self):
            raise IndexError(index)
        return moment(self._arrivals.at(self._start + index))


def moment(second: float) -> datetime:
    """The time that is some seconds after START."""
    return START + timedelta(seconds=second)


def photographs(a_day: float, days: int, seed: int, burst: tuple[int, int] | None = None) -> Arrivals:
    """By day and night (the busiest minute has 9 times the files of the quietest), by weekday, with noise.

    Args:
        a_day: files a day, on the mean of a year without the burst.
        days: length.
        seed: of the noise.
        burst: five times the files between these two minutes.
    """
    minute = np.arange(days * MINUTES)
    day = 1 + 0.8 * np.sin(2 * np.pi * (minute % MINUTES / MINUTES - 7 / 24))  # most at 13:00 UTC, least at 1:00
    week = np.take(WEEK, (START.weekday() + minute // MINUTES) % 7)
    rate = a_day / MINUTES * day * week / (np.mean(week) if days >= 7 else 1.0)
    if burst is not None:
        rate[slice(*burst)] *= 5
    return Arrivals(np.random.default_rng(seed).poisson(rate))


def labels(a_day: float, days: int, seed: int) -> Arrivals:
    """Of people at work: Monday to Friday, 8:00 to 17:00 UTC; `a_day` on the mean of the week."""
    minute = np.arange(days * MINUTES)
    at_work = (minute % MINUTES // 60 >= 8) & (minute % MINUTES // 60 < 17)
    at_work &= (START.weekday() + minute // MINUTES) % 7 < 5
    rate = np.where(at_work, a_day * 7 / 5 / (9 * 60), 0.0)
    return Arrivals(np.random.default_rng(seed + 1).poisson(rate))


def at_once(count: int, minute: int, days: int) -> Arrivals:
    """An import: all files within one minute."""
    counts = np.zeros(days * MINUTES, np.int64)
    counts[minute] = count
    return Arrivals(counts)
