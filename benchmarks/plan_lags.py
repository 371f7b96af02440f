"""How long files waited in a simulated year, from their arrival until they were ingested."""

from __future__ import annotations

import math

import numpy as np

from benchmarks.plan_year import Load, Year


def lags(year: Year, load: Load, kind: str, since: float = 0.0, until: float = math.inf) -> list[tuple[float, int]]:
    """(seconds from arrival to ingested, files that they stand for) of a kind's files, five of each batch."""
    points = []
    for batch in year.batches:
        if batch.kind != kind or batch.ingested is None or not since <= batch.closed < until:
            continue
        arrivals, count = load.streams[batch.stream][1], batch.end - batch.start
        for share in (0.1, 0.3, 0.5, 0.7, 0.9):
            came = arrivals.at(batch.start + int(share * count))
            points.append((batch.ingested - came, max(1, count // 5)))
    return points


def quantile(points: list[tuple[float, int]], share: float) -> float:
    """The weighted quantile."""
    if not points:
        return 0.0
    values = np.array(points)
    order = np.argsort(values[:, 0])
    weights = np.cumsum(values[order, 1])
    return float(values[order, 0][min(len(order) - 1, int(np.searchsorted(weights, share * weights[-1])))])
