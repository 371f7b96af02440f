"""experiments/study/carrying_out.py with real workers: SIGKILL of a trial, then of the study and all its processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from carsdepo_assets.lake import trials
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.lake.models import is_complete
from carsdepo_assets.registry.ledger import record
from carsdepo_assets.registry.tracking import Tracking
from carsdepo_assets_tests.detectors.rectangles import made_up_model
from carsdepo_assets_tests.training.tiny_dataset import tiny_dataset

POLICY = """
[training]
detector = "yolov8n"
from_champion = false
[study]
families = ["yolov8n"]
trials = 3
trial_steps = 10
trial_minutes = 20
minutes = 120
pruner = "none"
"""
# The study's process: the asset alone, with this machine's workers, as a run of Dagster has it.
STUDY = """
import sys
from pathlib import Path
import dagster as dg
from carsdepo_assets.compute.local import LocalCompute
from carsdepo_assets.experiments.assets import recipe
from carsdepo_assets.experiments.study_assets import trials
from carsdepo_assets.registry.resources import MlflowTracking
from carsdepo_assets.resources import LakeResource, PolicyResource, StudyStorage
home = sys.argv[1]
variables = {"CARSDEPO_HOME": home, "CARSDEPO_WORK": home + "/work"}
resources = {
    "lake": LakeResource(url=home + "/lake", home=home),
    "policy": PolicyResource(files=[home + "/carsdepo.toml"]),
    "tracking": MlflowTracking(home=home),
    "compute": LocalCompute(variables=variables),
    "studies": StudyStorage(home=home),
}
with dg.DagsterInstance.ephemeral() as instance:
    dg.materialize([trials, recipe], resources=resources, instance=instance)
"""


def start(home: Path) -> subprocess.Popen[bytes]:
    with (home / "study.log").open("ab") as log:
        return subprocess.Popen([sys.executable, "-c", STUDY, str(home)], stdout=log, stderr=subprocess.STDOUT)


def until(ready: Callable[[], object], process: subprocess.Popen[bytes], home: Path) -> None:
    while not ready():
        assert process.poll() is None, (home / "study.log").read_text()[-4000:]
        time.sleep(0.05)


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.timeout(3600)
def test_a_killed_trial_and_a_killed_study_go_on(tmp_path: Path) -> None:
    lake = Lake.open(tmp_path / "lake")
    tiny_dataset(lake)
    champion = made_up_model(lake, b"small", dataset="earlier")  # the recipes follow its size
    record(lake, "production", "promote", digest=champion, version=1, actor="ann", reason="test")
    (tmp_path / "carsdepo.toml").write_text(POLICY)

    def epochs(number: int) -> bool:
        return any(lake.exists(trials.epochs_key(e.study, number)) for e in trials.events(lake) if e.state == "opened")

    process = start(tmp_path)
    until(lambda: epochs(0), process, tmp_path)
    [worker] = [p for p in psutil.Process(process.pid).children() if "carsdepo_assets.training.worker" in p.cmdline()]
    worker.send_signal(signal.SIGKILL)  # the trial's training: the study starts it again
    until(lambda: epochs(1), process, tmp_path)
    members = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    for member in members:
        os.kill(member.pid, signal.SIGKILL)  # in the middle of trial 1: nobody is left
    process.wait()
    psutil.wait_procs(members, timeout=60)
    (tmp_path / "optuna.db").unlink()

    process = start(tmp_path)
    assert process.wait() == 0, (tmp_path / "study.log").read_text()[-4000:]
    events = trials.events(lake)
    assert len({e.study for e in events}) == 1
    ledger = trials.trials(events)
    assert [(t.number, t.state, t.ended.steps) for t in ledger if t.ended is not None] == [
        (n, "complete", 10) for n in range(3)
    ]
    assert [t.interruptions for t in ledger] == [1, 0, 0]
    assert [e.state for e in events].count("concluded") == 1
    for t in ledger:
        assert t.ended is not None
        assert t.ended.digest is not None
        assert is_complete(lake, t.ended.digest)
    client = Tracking.at_home(tmp_path).client
    runs = client.search_runs(["1"], "tags.carsdepo_trial LIKE '%'")
    assert sorted(r.data.tags["carsdepo_trial"].rpartition(":")[2] for r in runs) == ["0", "1", "2"]
    assert {r.info.status for r in runs} == {"FINISHED"}
    [parent] = client.search_runs(["1"], "tags.carsdepo_study LIKE '%'")
    assert {r.data.tags["mlflow.parentRunId"] for r in runs} == {parent.info.run_id}
    assert all("trial_val_map50" in r.data.metrics and "recipe.lr" in r.data.params for r in runs)
    assert lake.exists("recipes/latest.json")
