"""The loop's figures for CloudWatch's alarms, read from what is stored. Without Dagster."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import get_args

from carsdepo_assets.alerts.waiting_runs import WaitingRun
from carsdepo_assets.cloudwatch.catalogue import (
    ALERTS_UNDELIVERED,
    DRIFT_REPORT_AGE,
    DRIFT_SHARE,
    FILES_WAITING,
    INGESTION_LAG,
    LIVE_F1,
    LIVE_PRECISION,
    LIVE_RECALL,
    LOOP,
    MODEL_AGE,
    OLDEST_RUN_WAITING,
    OPEN_BATCHES,
    RUNS_WAITING,
)
from carsdepo_assets.cloudwatch.emf import Figure, figure
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.lake.object_index import open_index
from carsdepo_assets.registry.ledger import LedgerHistory, Stage

_UNDELIVERED = timedelta(hours=1)


def loop_figures(lake: Lake, waiting: Sequence[WaitingRun], now: datetime) -> list[Figure]:
    """The figures of the loop as it is now. What was never measured has none, and is never a zero.

    Args:
        lake: whose small tables and index of objects are read; never the answers.
        waiting: the runs that wait.
        now: the present, with a time zone.
    """
    return [
        *_of_runs(waiting, now),
        *_of_drift(lake, now),
        *_of_models(lake, now),
        *_of_files(lake, now),
        _undelivered(lake, now),
    ]


def _of_runs(waiting: Sequence[WaitingRun], now: datetime) -> Iterator[Figure]:
    yield figure(RUNS_WAITING, LOOP, len({run.run_id for run in waiting}))
    yield figure(OLDEST_RUN_WAITING, LOOP, max((_age(run.since, now) for run in waiting), default=0.0))


def _of_drift(lake: Lake, now: datetime) -> Iterator[Figure]:
    rows = lake.read("drift", ["at", "drift", "computed"], [("computed", "=", True)]).to_pylist()
    if not rows:
        return
    newest = max(rows, key=lambda row: row["at"])
    yield figure(DRIFT_REPORT_AGE, LOOP, _age(newest["at"], now))
    if newest["drift"] is not None:
        yield figure(DRIFT_SHARE, LOOP, 100 * newest["drift"])


def _of_models(lake: Lake, now: datetime) -> Iterator[Figure]:
    history = LedgerHistory.read(lake)
    stage: Stage
    for stage in get_args(Stage):
        served = history.served(stage)
        if served is not None:
            yield figure(MODEL_AGE, stage, _age(served.at, now))
    production = history.served("production")
    if production is None or production.digest is None:
        return
    rows = lake.read(
        "live_quality", ["day", "at", "f1", "recall", "precision"], [("digest", "=", production.digest)]
    ).to_pylist()
    if rows:
        newest = max(rows, key=lambda row: (row["day"], row["at"]))
        for metric, column in ((LIVE_F1, "f1"), (LIVE_RECALL, "recall"), (LIVE_PRECISION, "precision")):
            if newest[column] is not None:
                yield figure(metric, LOOP, 100 * newest[column])


def _of_files(lake: Lake, now: datetime) -> Iterator[Figure]:
    with open_index(lake) as index:
        for kind in ("uploads", "labels"):
            yield figure(FILES_WAITING, kind, index.waiting_count(kind))
            yield figure(OPEN_BATCHES, kind, len(index.batches(kind, open_only=True)))
        oldest = index.oldest_open_upload()
    yield figure(INGESTION_LAG, "uploads", 0.0 if oldest is None else _age(oldest, now))


def _undelivered(lake: Lake, now: datetime) -> Figure:
    """The alerts that a channel refused in the last hour, and that this channel has not taken in it."""
    rows = lake.read("alerts", ["key", "at", "sent", "failed"], [("at", ">=", now - _UNDELIVERED)]).to_pylist()
    refused = {(row["key"], line.partition(": ")[0]) for row in rows for line in row["failed"] or []}
    taken = {(row["key"], name) for row in rows for name in row["sent"] or []}
    return figure(ALERTS_UNDELIVERED, LOOP, len({key for key, _ in refused - taken}))


def _age(at: datetime, now: datetime) -> float:
    return max(0.0, (now - at).total_seconds())  # a clock of another machine may be ahead
