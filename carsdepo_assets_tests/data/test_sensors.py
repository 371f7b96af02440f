"""data/sensors.py: every batch gets its run, and one only, whatever was killed before it was ingested."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from dagster import DagsterInstance, DagsterRunStatus

from carsdepo_assets.data import sensors
from carsdepo_assets.data.batches.batches import Kind, plan_batches
from carsdepo_assets.data.objects.object_states import mark_ingested
from carsdepo_assets.data.sensors import requests_due
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.orchestration import attempts
from carsdepo_assets.orchestration.run_states import INTERRUPTED, INTERRUPTED_TAG
from carsdepo_assets.policy import DataPolicy, Policy
from carsdepo_assets_tests.data.photograph_files import NOW, photograph

RULES = Policy(data=DataPolicy(batch_max_age_s=0, label_wait_s=0))
KILLED = {INTERRUPTED_TAG: INTERRUPTED, "dagster/will_retry": "false"}


@pytest.fixture
def instance() -> Iterator[DagsterInstance]:
    with DagsterInstance.ephemeral() as instance:
        yield instance


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    lake = Lake.open(tmp_path / "lake")
    lake.put("raw/uploads/web/a.jpg", photograph(1))
    return lake


def tick(lake: Lake, instance: DagsterInstance, kind: Kind = "uploads") -> list[dg.RunRequest]:
    """What a tick asks for."""
    plan_batches(lake, kind, RULES, NOW)
    return requests_due(instance, lake, kind, RULES)


def keys(requests: list[dg.RunRequest]) -> list[str]:
    return [str(request.run_key) for request in requests]


def batch_of(requests: list[dg.RunRequest]) -> str:
    [request] = requests
    return str(request.partition_key)


def ran(
    instance: DagsterInstance, batch: str, status: DagsterRunStatus, job: str = "ingest_uploads", **tags: str
) -> None:
    every = {"dagster/partition": batch, "dagster/failure_reason": "STEP_FAILURE", **tags}
    instance.add_run(dg.DagsterRun(job, status=status, tags=every))


def test_a_batch_whose_partition_was_added_before_a_kill_gets_its_run(lake: Lake, instance: DagsterInstance) -> None:
    """Dagster's daemon adds a tick's partitions first and writes down its runs afterwards."""
    batch = batch_of(tick(lake, instance))
    instance.add_dynamic_partitions("upload_batch", [batch])
    assert keys(tick(lake, instance)) == [f"uploads:{batch}"]
    ran(instance, batch, DagsterRunStatus.STARTED)
    assert keys(tick(lake, instance)) == []


def test_a_batch_that_was_killed_too_often_for_dagsters_retries_is_asked_for_again(
    lake: Lake, instance: DagsterInstance
) -> None:
    batch = batch_of(tick(lake, instance))
    instance.add_dynamic_partitions("upload_batch", [batch])
    for _ in range(3):
        ran(instance, batch, DagsterRunStatus.FAILURE, **KILLED)
    assert keys(tick(lake, instance)) == [f"uploads:{batch}:4"]
    for _ in range(Policy().runs.max_interruptions):
        ran(instance, batch, DagsterRunStatus.FAILURE, **KILLED)
    assert keys(tick(lake, instance)) == []  # it brings the machine down: no more


def test_a_batch_that_failed_by_itself_or_is_ingested_is_not_asked_for_again(
    lake: Lake, instance: DagsterInstance
) -> None:
    batch = batch_of(tick(lake, instance))
    ran(instance, batch, DagsterRunStatus.FAILURE)
    assert keys(tick(lake, instance)) == []
    ran(instance, batch, DagsterRunStatus.FAILURE, **KILLED)
    assert keys(tick(lake, instance)) == [f"uploads:{batch}:3"]
    mark_ingested(lake, "uploads", batch, NOW)
    assert keys(tick(lake, instance)) == []


def test_labels_do_the_same(lake: Lake, instance: DagsterInstance) -> None:
    lake.put("raw/labels/web/a.json", b"{}")
    batch = batch_of(tick(lake, instance, "labels"))
    instance.add_dynamic_partitions("label_batch", [batch])
    ran(instance, batch, DagsterRunStatus.FAILURE, "ingest_labels", **KILLED)
    assert keys(tick(lake, instance, "labels")) == [f"labels:{batch}:2"]
    mark_ingested(lake, "labels", batch, NOW)
    assert keys(tick(lake, instance, "labels")) == []


def test_of_many_batches_the_oldest_without_a_run_are_asked_for(
    tmp_path: Path, instance: DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are looked for some at a time, beyond those that have their run."""
    monkeypatch.setattr(sensors, "REQUESTS_A_TICK", 3)
    monkeypatch.setattr(attempts, "_VALUES_AT_ONCE", 2)
    lake = Lake.open(tmp_path / "many")
    for number in range(8):
        lake.put(f"raw/uploads/web/{number}.jpg", photograph(number))
    one_each = Policy(data=DataPolicy(batch_max_images=1))
    batches = [manifest.batch_id for manifest in plan_batches(lake, "uploads", one_each, NOW)]
    assert len(batches) == 8
    for batch in (batches[0], batches[1], batches[3]):
        ran(instance, batch, DagsterRunStatus.STARTED)
    ran(instance, batches[4], DagsterRunStatus.FAILURE, **KILLED)
    ran(instance, batches[5], DagsterRunStatus.STARTED, job="another")
    wanted = [f"uploads:{batches[2]}", f"uploads:{batches[4]}:2", f"uploads:{batches[5]}"]
    assert keys(requests_due(instance, lake, "uploads", one_each)) == wanted
