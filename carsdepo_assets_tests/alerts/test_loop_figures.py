"""alerts/loop_figures.py, alerts/sensors.py: the loop's figures are what is stored, and nothing is made up."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
import pytest

from carsdepo_assets.alerts.loop_figures import loop_figures
from carsdepo_assets.alerts.resources import FiguresResource
from carsdepo_assets.alerts.sensors import publish_figures
from carsdepo_assets.alerts.waiting_runs import WaitingRun
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.registry import ledger
from carsdepo_assets.resources import LakeResource
from carsdepo_assets_tests.cloudwatch.emf_rules import measured

NOW = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=2)
EMPTY = {
    ("RunsWaiting", "loop"): 0,
    ("OldestRunWaiting", "loop"): 0,
    ("FilesWaiting", "uploads"): 0,
    ("FilesWaiting", "labels"): 0,
    ("OpenBatches", "uploads"): 0,
    ("OpenBatches", "labels"): 0,
    ("IngestionLag", "uploads"): 0,
    ("AlertsUndelivered", "loop"): 0,
}


def ago(**since: float) -> datetime:
    return NOW - timedelta(**since)


def figures_of(lake: Lake, waiting: tuple[WaitingRun, ...] = ()) -> dict[tuple[str, str], float]:
    return {(f.metric.name, f.of): f.values[0] for f in loop_figures(lake, waiting, NOW)}


def append(lake: Lake, table: str, *rows: dict[str, Any]) -> None:
    for number, row in enumerate(rows):
        lake.append(table, [row], f"{table}:{number}")


def test_of_an_empty_lake_nothing_is_measured(lake: Lake) -> None:
    assert figures_of(lake) == EMPTY


def test_drift_is_that_of_the_newest_report_that_could_be_computed(lake: Lake) -> None:
    append(
        lake,
        "drift",
        {"report_id": "a", "at": ago(hours=3), "computed": True, "drift": 0.1},
        {"report_id": "b", "at": ago(hours=2), "computed": True, "drift": 0.25},
        {"report_id": "c", "at": ago(hours=1), "computed": False, "drift": None},
    )
    assert figures_of(lake) == EMPTY | {("DriftShare", "loop"): 25.0, ("DriftReportAge", "loop"): 7200.0}


def test_live_quality_is_that_of_the_model_in_production_on_its_newest_day(lake: Lake) -> None:
    deployed = ledger.record(lake, "staging", "deploy", digest="b", version=1, actor="me", reason="a test")
    promoted = ledger.record(lake, "production", "promote", digest="a", version=1, actor="me", reason="a test")
    append(
        lake,
        "live_quality",
        {"day": "2026-11-01", "at": ago(days=1), "digest": "a", "f1": 0.5, "recall": 0.5, "precision": 0.5},
        {"day": "2026-11-02", "at": ago(days=3), "digest": "a", "f1": 0.6, "recall": 0.9, "precision": 0.4},
        {"day": "2026-11-02", "at": ago(days=2), "digest": "a", "f1": 0.7, "recall": 0.8, "precision": None},
        {"day": "2026-11-03", "at": ago(days=1), "digest": "b", "f1": 0.1, "recall": 0.1, "precision": 0.1},
    )
    figures = figures_of(lake)
    assert figures.pop(("ModelAge", "production")) == pytest.approx((NOW - promoted.at).total_seconds())
    assert figures.pop(("ModelAge", "staging")) == pytest.approx((NOW - deployed.at).total_seconds())
    assert figures == EMPTY | {("LiveQualityF1", "loop"): 70.0, ("LiveQualityRecall", "loop"): 80.0}


def test_what_waits_for_ingestion(lake: Lake) -> None:
    rows = (
        ("uploads", "raw/uploads/a.jpg", ago(hours=5), "u1", "image"),
        ("uploads", "raw/uploads/b.jpg", ago(hours=4), "u2", "batched"),
        ("uploads", "raw/uploads/c.jpg", ago(hours=1), None, "waiting"),
        ("uploads", "batches/uploads/u1.json", None, "u1", "ingested"),
        ("uploads", "batches/uploads/u2.json", None, "u2", "closed"),
        ("labels", "raw/labels/c.txt", ago(hours=1), None, "waiting"),
    )
    names = ("kind", "key", "modified_at", "batch_id", "state")
    append(
        lake,
        "objects",
        *({"sequence": n, "size": 1, **dict(zip(names, row, strict=True))} for n, row in enumerate(rows)),
    )
    waiting = {("FilesWaiting", "uploads"): 1, ("FilesWaiting", "labels"): 1, ("OpenBatches", "uploads"): 1}
    assert figures_of(lake) == EMPTY | waiting | {("IngestionLag", "uploads"): 4 * 3600.0}


def test_runs_that_wait(lake: Lake) -> None:
    runs = (
        WaitingRun("1", "train", ago(minutes=3)),
        WaitingRun("1", "train", ago(minutes=2), "gpu", "candidate_model"),
        WaitingRun("2", "ingest_uploads", NOW + timedelta(seconds=5)),  # by the database's clock
    )
    assert figures_of(lake, runs) == EMPTY | {("RunsWaiting", "loop"): 2, ("OldestRunWaiting", "loop"): 180.0}


def test_an_alert_that_a_channel_has_not_taken_within_the_hour(lake: Lake) -> None:
    refused = {"sent": ["log"], "failed": ["sns:alerts: SNS refused it: NotFound"]}
    append(
        lake,
        "alerts",
        {"alert_id": "1", "key": "old", "at": ago(minutes=61), **refused},
        {"alert_id": "2", "key": "taken later", "at": ago(minutes=30), **refused},
        {"alert_id": "3", "key": "taken later", "at": ago(minutes=20), "sent": ["sns:alerts"], "failed": []},
        {"alert_id": "4", "key": "refused twice", "at": ago(minutes=10), **refused},
        {"alert_id": "5", "key": "refused twice", "at": ago(minutes=5), **refused},
    )
    assert figures_of(lake) == EMPTY | {("AlertsUndelivered", "loop"): 1}


def tick(lake: Lake, namespace: str | None) -> dg.SensorResult | dg.SkipReason:
    given = {"lake": LakeResource(url=lake.url, home=lake.url), "figures": FiguresResource(namespace=namespace)}
    with dg.DagsterInstance.ephemeral() as instance:
        result = publish_figures(dg.build_sensor_context(instance=instance, resources=given))
    assert isinstance(result, (dg.SensorResult, dg.SkipReason))
    return result


def test_the_sensor_publishes_every_figure(lake: Lake, capsys: pytest.CaptureFixture[str]) -> None:
    result = tick(lake, "Carsdepo/staging")
    published = measured(capsys.readouterr().out)
    assert {(name, of.partition("=")[2]): value for (_, name, of), [value] in published.items()} == EMPTY | {
        ("RunsFailed", "loop"): 0
    }
    assert isinstance(result, dg.SensorResult)
    assert "9 figures published in Carsdepo/staging" in str(result.skip_reason)


def test_without_a_namespace_the_sensor_reads_and_writes_nothing(
    lake: Lake, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LakeResource, "open", lambda self: pytest.fail("the lake was read"))
    result = tick(lake, None)
    assert isinstance(result, dg.SkipReason)
    assert "CARSDEPO_METRICS_NAMESPACE" in str(result.skip_message)
    assert capsys.readouterr().out == ""
