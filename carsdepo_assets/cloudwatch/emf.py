"""Writes metrics as lines of JSON in CloudWatch's embedded metric format, of which CloudWatch Logs makes metrics.

The form is that of the Amazon CloudWatch User Guide, "Specification: Embedded metric format". A line needs neither
credentials nor a network, and where the log driver keeps it, the metric is kept.
"""

from __future__ import annotations

import json
import math
import sys
import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TextIO

from carsdepo_assets.cloudwatch.catalogue import DIMENSIONS, Metric

MOST_METRICS = 100
"""Metrics of a directive, by the specification."""
MOST_VALUES = 100
"""Values of a metric in one line, by the specification."""

_BEGINNING = '{"_aws":'
_whole_lines = threading.Lock()


@dataclass(frozen=True)
class Figure:
    """Values of a metric for one value of its dimension."""

    metric: Metric
    of: str
    """The dimension's value, one of catalogue.DIMENSIONS."""
    values: Sequence[float]
    """In the metric's unit. Infinite ones and NaN are left out, since JSON has none."""


def figure(metric: Metric, of: str, value: float) -> Figure:
    """A single value of a metric."""
    return Figure(metric, of, (value,))


def lines(namespace: str, figures: Iterable[Figure], at: datetime) -> list[str]:
    """The lines that publish figures: one for each value of a dimension, and more where there are too many values.

    Args:
        namespace: CloudWatch's, of the metrics.
        figures: to publish. A value counts once, however many lines there are.
        at: when they were measured, with a time zone.

    Raises:
        ValueError: a dimension has no such value.
    """
    groups: dict[tuple[str, str], dict[Metric, list[float]]] = {}
    for one in figures:
        if one.of not in DIMENSIONS[one.metric.dimension]:
            raise ValueError(f"{one.metric.name}: {one.of!r} is no {one.metric.dimension}.")
        values = groups.setdefault((one.metric.dimension, one.of), {}).setdefault(one.metric, [])
        values += [value for value in one.values if math.isfinite(value)]
    return [
        _line(namespace, dimension, of, part, at)
        for (dimension, of), values in groups.items()
        for part in _parts(values)
    ]


def is_line(text: str) -> bool:
    """Whether a line of a log is one of metrics, which says nothing to people."""
    return text.startswith(_BEGINNING)


def publish(namespace: str, figures: Iterable[Figure], at: datetime | None = None, out: TextIO | None = None) -> None:
    """Writes figures as lines.

    Args:
        namespace: CloudWatch's, of the metrics.
        figures: to publish.
        at: when they were measured; None: now.
        out: where; None: stdout as it is now.
    """
    text = "".join(f"{line}\n" for line in lines(namespace, figures, at or datetime.now(UTC)))
    if not text:
        return
    stream = out or sys.stdout
    with _whole_lines:
        stream.write(text)
        stream.flush()


def _parts(values: dict[Metric, list[float]]) -> Iterator[dict[Metric, list[float]]]:
    """The values in parts that a line may hold."""
    left = {metric: list(numbers) for metric, numbers in values.items() if numbers}
    while left:
        part = dict(list(left.items())[:MOST_METRICS])
        yield {metric: numbers[:MOST_VALUES] for metric, numbers in part.items()}
        rest = {m: numbers[MOST_VALUES:] if m in part else numbers for m, numbers in left.items()}
        left = {metric: numbers for metric, numbers in rest.items() if numbers}


def _line(namespace: str, dimension: str, of: str, values: dict[Metric, list[float]], at: datetime) -> str:
    directive = {
        "Namespace": namespace,
        "Dimensions": [[dimension]],
        "Metrics": [{"Name": metric.name, "Unit": metric.unit} for metric in values],
    }
    content: dict[str, Any] = {
        "_aws": {"Timestamp": int(at.timestamp() * 1000), "CloudWatchMetrics": [directive]},
        dimension: of,
        **{metric.name: numbers[0] if len(numbers) == 1 else numbers for metric, numbers in values.items()},
    }
    return json.dumps(content, separators=(",", ":"), allow_nan=False)
