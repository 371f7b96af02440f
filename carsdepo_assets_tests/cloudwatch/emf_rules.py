"""The rules of CloudWatch's embedded metric format, and what CloudWatch Logs would make of a line.

From the Amazon CloudWatch User Guide, "Specification: Embedded metric format", and the API reference of CloudWatch,
"MetricDatum". No emulator makes metrics of lines, so that these rules stand in for it.
"""

from __future__ import annotations

import json
from collections import defaultdict
from typing import Any

UNITS = {"Percent", "Seconds", "Milliseconds", "Count", "None"}
MOST_BYTES = 16 * 1024  # Docker cuts a longer line into several; CloudWatch Logs itself would take more


def measured(text: str) -> dict[tuple[str, str, str], list[float]]:
    """The values by (namespace, metric, dimension=value), of all lines of a text, each of which keeps the rules."""
    values: dict[tuple[str, str, str], list[float]] = defaultdict(list)
    for line in text.splitlines():
        for key, numbers in _of_line(line).items():
            values[key] += numbers
    return dict(values)


def _of_line(line: str) -> dict[tuple[str, str, str], list[float]]:
    assert len(line.encode()) < MOST_BYTES
    root: dict[str, Any] = json.loads(line, parse_constant=_no_json)
    metadata = root["_aws"]
    assert set(metadata) == {"Timestamp", "CloudWatchMetrics"}
    assert isinstance(metadata["Timestamp"], int)
    assert metadata["Timestamp"] > 1e12  # milliseconds
    values = {}
    for directive in metadata["CloudWatchMetrics"]:
        assert set(directive) == {"Namespace", "Dimensions", "Metrics"}
        assert 0 < len(directive["Namespace"]) < 256
        assert 0 < len(directive["Metrics"]) <= 100
        [names] = directive["Dimensions"]
        assert 0 < len(names) <= 30
        for name in names:
            assert isinstance(root[name], str)
            assert 0 < len(root[name]) <= 1024
        for metric in directive["Metrics"]:
            assert set(metric) == {"Name", "Unit"}
            assert metric["Unit"] in UNITS
            given = root[metric["Name"]]
            numbers = given if isinstance(given, list) else [given]
            assert 0 < len(numbers) <= 100
            assert all(type(number) in (int, float) for number in numbers)
            dimension = ",".join(f"{name}={root[name]}" for name in names)
            values[directive["Namespace"], metric["Name"], dimension] = numbers
    return values


def _no_json(word: str) -> None:
    raise AssertionError(f"{word} is no JSON")
