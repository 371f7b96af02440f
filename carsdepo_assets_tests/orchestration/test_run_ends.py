"""compute/local.py, orchestration/dead_runs.py: a run that is terminated or killed leaves no process behind."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from dagster import DagsterInstance, DagsterRun, DagsterRunStatus
from dagster._core.utils import make_new_run_id

from carsdepo_assets.orchestration.attempts import attempts
from carsdepo_assets.orchestration.dead_runs import fail_orphaned_runs, settle_dead_runs
from carsdepo_assets.orchestration.run_processes import HOST_TAG, run_processes, run_worker
from carsdepo_assets.orchestration.run_states import INTERRUPTED_TAG
from carsdepo_assets.registry.resources import MlflowTracking
from carsdepo_assets_tests.compute.test_local import gone, until
from carsdepo_assets_tests.orchestration.dagster_run import DOES, FOLDER, POOL, instance_in

pytestmark = pytest.mark.slow


class Run:
    def __init__(self, folder: Path) -> None:
        self.id = make_new_run_id()
        self.mlflow = MlflowTracking(home=str(folder))
        self.pids = folder / "pids"
        self.log = (folder / "log").open("w")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "carsdepo_assets_tests.orchestration.dagster_run", str(folder), self.id],
            env={**os.environ, FOLDER: str(folder), DOES: "hang"},
            stdout=self.log,
            stderr=subprocess.STDOUT,
        )

    def worker_and_child(self) -> list[int]:
        until(lambda: self.pids.exists() or self.process.poll() is not None, 300)
        assert self.process.poll() is None, Path(self.log.name).read_text()
        return [int(p) for p in self.pids.read_text().split()]

    def mlflow_status(self) -> str:
        tracking = self.mlflow.tracking()
        run_id = tracking.find(self.id)
        assert run_id is not None
        return tracking.status(run_id)


@pytest.fixture
def instance(tmp_path: Path):
    with instance_in(tmp_path / "dagster") as created:
        yield created


@pytest.fixture
def run(tmp_path: Path, instance: DagsterInstance):
    started = Run(tmp_path)
    yield started
    if started.process.poll() is None:
        started.process.kill()
        started.process.wait()
    started.log.close()


def status(instance: DagsterInstance, run: Run) -> DagsterRunStatus:
    run_now = instance.get_run_by_id(run.id)
    assert run_now is not None
    return run_now.status


def holders(instance: DagsterInstance) -> set[str]:
    return instance.event_log_storage.get_concurrency_info(POOL).active_run_ids


@pytest.mark.timeout(500)
@pytest.mark.parametrize(
    ("asked", "dagster", "mlflow"),
    [(True, DagsterRunStatus.CANCELED, "KILLED"), (False, DagsterRunStatus.FAILURE, "FAILED")],
    ids=["terminated by a user", "interrupted by no one"],
)
def test_an_interrupted_run_ends_its_worker(
    asked: bool, dagster: DagsterRunStatus, mlflow: str, run: Run, instance: DagsterInstance
) -> None:
    pids = run.worker_and_child()
    assert run.mlflow_status() == "RUNNING"
    if asked:
        run_now = instance.get_run_by_id(run.id)
        assert run_now is not None
        instance.report_run_canceling(run_now)
    run.process.send_signal(signal.SIGINT)
    run.process.wait(timeout=60)
    assert all(map(gone, pids))
    assert status(instance, run) == dagster
    run.mlflow.reconcile(instance)
    assert run.mlflow_status() == mlflow
    settle_dead_runs(instance)
    assert holders(instance) == set()
    # Ended by no one who asked for it (Ctrl-C of `dagster dev` while it trains): the training did not fail.
    assert attempts(instance, "train", {}).counted(10) == (1 if asked else 0)


@pytest.mark.timeout(500)
def test_a_sigkilled_run_leaves_no_worker_is_reported_and_gives_back_its_slot(
    run: Run, instance: DagsterInstance
) -> None:
    pids = run.worker_and_child()
    assert fail_orphaned_runs(instance) == []  # it lives
    named = run_worker(instance, run.id)
    assert named is not None
    assert named.pid == run.process.pid
    assert pids[0] in [p.pid for p in run_processes(instance, run.id) if p.step is not None]
    storage = instance.event_log_storage
    instance.add_run(DagsterRun("train", "the next run", status=DagsterRunStatus.STARTED))
    assert not storage.claim_concurrency_slot(POOL, "the next run", "model").is_claimed
    assert settle_dead_runs(instance).freed == []
    assert holders(instance) == {run.id}
    run.process.kill()
    run.process.wait()
    until(lambda: all(map(gone, pids)))
    assert status(instance, run) == DagsterRunStatus.STARTED  # no one has said otherwise
    assert run.mlflow.reconcile(instance) == {}

    instance.add_run_tags(run.id, {HOST_TAG: "another-machine"})
    assert fail_orphaned_runs(instance) == []
    instance.run_storage.add_run_tags(run.id, {HOST_TAG: socket.gethostname()})

    assert fail_orphaned_runs(instance) == [run.id]
    assert fail_orphaned_runs(instance) == []
    assert holders(instance) == {run.id}  # killed now, this part is done again by the next look
    assert settle_dead_runs(instance).freed == [run.id]
    assert storage.claim_concurrency_slot(POOL, "the next run", "model").is_claimed
    assert attempts(instance, "train", {}).counted(10) == 1  # the next run alone
    run.mlflow.reconcile(instance)
    assert status(instance, run) == DagsterRunStatus.FAILURE
    assert run.mlflow_status() == "FAILED"
    assert run.mlflow.reconcile(instance) == {}


@pytest.mark.timeout(500)
def test_a_killed_worker_fails_its_run_which_is_no_attempt(run: Run, instance: DagsterInstance) -> None:
    """As the machine's out-of-memory killer does it."""
    os.kill(run.worker_and_child()[0], signal.SIGKILL)
    run.process.wait(timeout=60)
    assert status(instance, run) == DagsterRunStatus.FAILURE
    run_now = instance.get_run_by_id(run.id)
    assert run_now is not None
    assert INTERRUPTED_TAG in run_now.tags
    assert holders(instance) == set()
