"""alerts/waiting_runs.py: a run that waits too long raises an alert with the reason and what to do."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest
from dagster import DagsterInstance, DagsterRunStatus

from carsdepo_assets.alerts.resources import AlertsResource
from carsdepo_assets.alerts.sensors import waiting_now, waiting_runs
from carsdepo_assets.alerts.waiting_runs import Holder, WaitingRun, alert_of
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.resources import LakeResource, PolicyResource
from carsdepo_assets_tests.orchestration.dagster_run import instance_in

NOW = datetime(2026, 8, 1, 12, tzinfo=UTC)
HOLDER = Holder("dead", "train", "STARTED")


def body_of(run: WaitingRun, limit_s: float = 60) -> str | None:
    alert = alert_of(run, NOW, limit_s, lambda run_id: f"http://dagster/runs/{run_id}")
    if alert is None:
        return None
    assert (alert.kind, alert.severity) == ("run_waiting", "warning")
    assert run.job in alert.title
    assert f"http://dagster/runs/{run.run_id}" in alert.body
    return alert.body


@pytest.mark.parametrize(
    ("run", "words"),
    [
        (
            WaitingRun("a", "train", NOW - timedelta(minutes=5), "training", "candidate_model", (HOLDER,)),
            ["5 minutes", "pool training", "step candidate_model", "runs/dead", "run of train, started", "terminate"],
        ),
        (
            WaitingRun("a", "train", NOW - timedelta(minutes=5), "training", None, (Holder("gone", None, None),)),
            ["pool training", "no longer exists", "runs/gone"],
        ),
        (WaitingRun("a", "train", NOW - timedelta(minutes=5), "training"), ["which no run holds", "limit of training"]),
        (
            WaitingRun("a", "ingest_labels", NOW - timedelta(minutes=5), holders=(HOLDER,), places=1),
            ["for its turn: 1 runs", "runs/dead"],
        ),
        (
            WaitingRun("a", "ingest_labels", NOW - timedelta(minutes=5), holders=(HOLDER,), places=3),
            ["though there is room", "log of Dagster's daemon"],
        ),
    ],
)
def test_the_alert_names_what_is_waited_for(run: WaitingRun, words: list[str]) -> None:
    body = body_of(run)
    assert body is not None
    for part in words:
        assert part in body


def test_a_wait_within_the_limit_is_none() -> None:
    run = WaitingRun("a", "train", NOW - timedelta(seconds=60), "training")
    assert body_of(run, 60) is None
    assert body_of(run, 59.9) is not None


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[DagsterInstance]:
    with instance_in(tmp_path / "dagster") as instance:
        yield instance


def test_the_sensor_tells_once_of_a_step_that_waits_for_a_pool(lake: Lake, instance: DagsterInstance) -> None:
    storage = instance.event_log_storage
    storage.set_concurrency_slots("training", 1)
    for run_id in ("holds", "waits"):
        instance.add_run(dg.DagsterRun("train", run_id, status=DagsterRunStatus.STARTED))
        storage.claim_concurrency_slot("training", run_id, "candidate_model")
    instance.add_run(dg.DagsterRun("ingest_labels", "not begun", status=DagsterRunStatus.NOT_STARTED))
    waiting = {run.run_id: run for run in waiting_now(instance)}
    assert set(waiting) == {"waits", "not begun"}
    assert waiting["waits"].pool == "training"
    assert waiting["waits"].step == "candidate_model"
    assert [h.run_id for h in waiting["waits"].holders] == ["holds"]
    assert waiting["not begun"].pool is None

    policy = Path(lake.url, "carsdepo.toml")
    policy.parent.mkdir(parents=True, exist_ok=True)

    def tick(limit_s: float) -> None:
        policy.write_text(f"[alerts]\nrun_waiting_s = {limit_s}\n")
        resources = {
            "lake": LakeResource(url=lake.url, home=lake.url),
            "policy": PolicyResource(file=str(policy)),
            "alerts": AlertsResource(dagster_url="http://dagster"),
        }
        waiting_runs(dg.build_sensor_context(instance=instance, resources=resources))

    tick(3600)
    assert lake.read("alerts").num_rows == 0
    for _ in range(2):
        tick(0.000001)
    rows = lake.read("alerts").to_pylist()
    assert {r["kind"] for r in rows} == {"run_waiting"}
    assert sorted(r["key"] for r in rows) == ["run_waiting:not begun:turn", "run_waiting:waits:training"]
    [step] = [r for r in rows if "training" in r["key"]]
    assert "http://dagster/runs/holds" in step["body"]
    assert "http://dagster/runs/waits" in step["body"]
