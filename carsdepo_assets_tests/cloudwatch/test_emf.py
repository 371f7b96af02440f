"""cloudwatch/emf.py, cloudwatch/catalogue.py: every line keeps the format's rules, and every value arrives once."""

from __future__ import annotations

import io
import re
import threading
from datetime import UTC, datetime
from typing import get_args

import pytest

from carsdepo_assets.cloudwatch.catalogue import (
    DIMENSIONS,
    DRIFT_SHARE,
    LATENCY,
    METRICS,
    PUBLISHERS,
    REQUESTS,
    Metric,
    Unit,
)
from carsdepo_assets.cloudwatch.emf import Figure, figure, lines, publish
from carsdepo_assets.compute.settings_checks import VERBS
from carsdepo_assets.registry.ledger import Stage
from carsdepo_assets_tests.cloudwatch.emf_rules import UNITS, measured

AT = datetime(2026, 11, 27, 4, tzinfo=UTC)


def test_every_metric_has_a_name_of_its_own_and_what_cloudwatch_takes() -> None:
    assert len(METRICS) == sum(map(len, PUBLISHERS.values()))
    assert set(get_args(Unit)) == UNITS
    for metric in METRICS.values():
        assert re.fullmatch("[A-Z][A-Za-z0-9]{0,254}", metric.name)
        assert metric.dimension in DIMENSIONS
        assert metric.name not in DIMENSIONS  # both are members of the same object
    assert set(DIMENSIONS["Stage"]) == set(get_args(Stage))
    assert set(DIMENSIONS["Job"]) == set(VERBS)


def test_every_metric_at_once() -> None:
    every = [figure(metric, of, 1.5) for metric in METRICS.values() for of in DIMENSIONS[metric.dimension]]
    found = measured("\n".join(lines("Carsdepo/staging", every, AT)))
    assert found == {("Carsdepo/staging", f.metric.name, f"{f.metric.dimension}={f.of}"): [1.5] for f in every}


@pytest.mark.parametrize("count", [0, 1, 2, 99, 100, 101, 200, 1001])
def test_every_value_arrives_once_however_many_there_are(count: int) -> None:
    milliseconds = [60_000.123 + n for n in range(count)]
    written = lines(
        "Carsdepo", [figure(REQUESTS, "production", count), Figure(LATENCY, "production", milliseconds)], AT
    )
    found = measured("\n".join(written))
    assert found["Carsdepo", "Requests", "Stage=production"] == [count]
    assert found.get(("Carsdepo", "Latency", "Stage=production"), []) == milliseconds
    assert len(written) == max(1, -(-count // 100))


def test_more_metrics_than_a_directive_holds() -> None:
    many = [figure(Metric(f"M{n}", "Count", "Stage", ""), "staging", n) for n in range(250)]
    found = measured("\n".join(lines("Carsdepo", many, AT)))
    assert {name: values for (_, name, _), values in found.items()} == {f"M{n}": [n] for n in range(250)}


def test_what_json_has_no_number_for_is_left_out() -> None:
    assert lines("Carsdepo", [Figure(DRIFT_SHARE, "loop", [float("nan"), float("inf")])], AT) == []
    assert lines("Carsdepo", [], AT) == []
    with pytest.raises(ValueError, match="DriftShare: 'moon' is no Part"):
        lines("Carsdepo", [figure(DRIFT_SHARE, "moon", 1)], AT)


def test_threads_write_whole_lines(capsys: pytest.CaptureFixture[str]) -> None:
    def write() -> None:
        for _ in range(50):
            publish("Carsdepo", [figure(REQUESTS, "staging", 1), Figure(LATENCY, "staging", [1.0] * 60)])

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(measured(capsys.readouterr().out)["Carsdepo", "Requests", "Stage=staging"]) == 200


def test_nothing_is_written_where_there_is_nothing() -> None:
    out = io.StringIO()
    publish("Carsdepo", [], out=out)
    assert out.getvalue() == ""
