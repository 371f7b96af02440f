"""compute/worker/job_figures.py: a job publishes its use of the machine, and this stands in no failure's words."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import threading
from pathlib import Path
from unittest.mock import Mock

import pytest

from carsdepo_assets.cloudwatch.catalogue import DIMENSIONS
from carsdepo_assets.cloudwatch.emf import is_line
from carsdepo_assets.compute.local import LocalCompute
from carsdepo_assets.compute.pipes.ecs_logs import last_lines
from carsdepo_assets.compute.settings_file import read_compute
from carsdepo_assets.compute.worker.job_figures import published_use
from carsdepo_assets_tests.cloudwatch.emf_rules import measured
from carsdepo_assets_tests.compute.contract_worker import ContractSpec

WORKERS = {
    "train": "carsdepo_assets.training.worker",
    "evaluate": "carsdepo_assets.compute.worker.evaluate",
    "export": "carsdepo_assets.compute.worker.export",
    "reference": "carsdepo_assets.monitoring.reference_worker",
    "process": "carsdepo_assets.data.photographs.processing_worker",
}
ECS = """
[ecs]
cluster = "carsdepo"
task_definitions = { others = "carsdepo-worker" }
bucket = "carsdepo-jobs"
"""


def test_every_worker_names_its_job() -> None:
    assert set(WORKERS) == set(DIMENSIONS["Job"])
    assert {verb: importlib.import_module(module).JOB.verb for verb, module in WORKERS.items()} == {
        v: v for v in WORKERS
    }


def test_a_job_publishes_at_its_end_however_short_it_was(capsys: pytest.CaptureFixture[str]) -> None:
    with published_use("Carsdepo", "train", every_s=3600):
        pass
    published = measured(capsys.readouterr().out)
    assert {(namespace, of) for namespace, _, of in published} == {("Carsdepo", "Job=train")}
    assert {"JobCpuUse", "JobMemoryUse"} <= {name for _, name, _ in published}


def test_a_job_publishes_while_it_works(monkeypatch: pytest.MonkeyPatch) -> None:
    twice = threading.Semaphore(0)
    monkeypatch.setattr("carsdepo_assets.compute.worker.job_figures.publish", lambda *given: twice.release())
    with published_use("Carsdepo", "train", every_s=0.01):
        assert twice.acquire(timeout=20)
        assert twice.acquire(timeout=20)


@pytest.mark.parametrize(("namespace", "job"), [(None, "train"), ("", "train"), ("Carsdepo", None)])
def test_without_a_namespace_nothing_is_published(
    namespace: str | None, job: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    with published_use(namespace, job, every_s=0.0):
        pass
    assert capsys.readouterr().out == ""


@pytest.mark.slow
@pytest.mark.parametrize("does", ["report", "fail"])
def test_the_workers_process_publishes(does: str, tmp_path: Path) -> None:
    spec = tmp_path / "spec.json"
    spec.write_text(ContractSpec.model_validate({"lake": str(tmp_path), "does": does}).model_dump_json())
    command = [sys.executable, "-m", "carsdepo_assets_tests.compute.contract_worker", "--spec", str(spec)]
    env = os.environ | {"CARSDEPO_METRICS_NAMESPACE": "Carsdepo", "CARSDEPO_WORK": str(tmp_path / "work")}
    out = subprocess.run(command, capture_output=True, text=True, env=env).stdout
    published = measured("\n".join(line for line in out.splitlines() if is_line(line)))
    assert ("Carsdepo", "JobMemoryUse", "Job=train") in published


def test_the_last_lines_of_a_task_are_those_for_people() -> None:
    client = Mock()
    client.get_log_events.return_value = {"events": [{"message": '{"_aws":{}}'}, {"message": "it broke"}]}
    options = {"awslogs-group": "carsdepo", "awslogs-stream-prefix": "worker"}
    container = {"name": "worker", "logConfiguration": {"logDriver": "awslogs", "options": options}}
    assert last_lines(client, container, "arn/task") == "it broke"


@pytest.mark.parametrize(
    ("own", "given"),
    [
        ("", {"CARSDEPO_METRICS_NAMESPACE": "Carsdepo"}),
        ('variables = { A = "1" }', {"CARSDEPO_METRICS_NAMESPACE": "Carsdepo", "A": "1"}),
        ('variables = { CARSDEPO_METRICS_NAMESPACE = "Jobs" }', {"CARSDEPO_METRICS_NAMESPACE": "Jobs"}),
    ],
)
def test_tasks_on_ecs_get_the_namespace_where_the_file_names_no_other(
    own: str, given: dict[str, str], tmp_path: Path
) -> None:
    file = tmp_path / "compute.toml"
    file.write_text(ECS + own)
    compute = read_compute(file, LocalCompute(), of_tasks={"CARSDEPO_METRICS_NAMESPACE": "Carsdepo"})
    assert compute.ecs is not None
    assert compute.ecs.variables == given
