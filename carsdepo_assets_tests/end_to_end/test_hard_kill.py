"""orchestration/dead_runs.py: a training goes on from its checkpoint after Ctrl-C and a crash, without any help.

The crash: SIGKILL of every process of a running `dagster dev` (daemon, web server, code server, run worker, trainer).
"""

from __future__ import annotations

import re
from pathlib import Path

import dagster as dg
import pytest

from carsdepo_assets.commands import dev
from carsdepo_assets.demo.sample.write import write_sample
from carsdepo_assets.detectors.checkpoints import CHECKPOINT_FORMAT, read_torch
from carsdepo_assets.environments import resources
from carsdepo_assets.orchestration.run_states import INTERRUPTED_TAG
from carsdepo_assets.registry.models import versions
from carsdepo_assets.settings import Settings
from carsdepo_assets_tests.end_to_end.dagster_server import Server, dagster_dev, free_port
from carsdepo_assets_tests.end_to_end.dropping import drop
from carsdepo_assets_tests.end_to_end.killing import CarsdepoDev, kill_everything, lives, tree

POLICY = """
[data]
batch_max_age_s = 1
[training]
steps = 30
minutes = 2.5
debounce_s = 1
max_attempts = 1
min_class_boxes = 0  # so few photographs have no boxes in val
min_val_boxes = 0
[evaluation]
floor_map50 = 0.0
[gate]
floor_map50 = 1.0
"""
TRAINER = "carsdepo_assets.training.worker"


def steps_kept(settings: Settings) -> int:
    """Optimizer steps that the training's checkpoint holds; 0 before there is one."""
    files = list(settings.home.glob("work/training/*/checkpoint.pt"))
    assert len(files) <= 1, files  # of one dataset and recipe: nothing was trained beside it
    return int(read_torch(files[0], CHECKPOINT_FORMAT)["steps"]) if files else 0


def log_of(instance: dg.DagsterInstance, run_id: str) -> str:
    return "\n".join(entry.user_message for entry in instance.all_logs(run_id))


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.timeout(1500)
def test_training_goes_on_after_ctrl_c_and_after_a_crash(tmp_path: Path) -> None:
    sample = tmp_path / "sample"
    write_sample(sample, 24, 5)
    (tmp_path / "carsdepo.toml").write_text(POLICY)
    ports = {f"CARSDEPO_{n}_PORT": str(free_port()) for n in ("DAGSTER", "MLFLOW", "STAGING", "PRODUCTION")}
    settings = Settings.read({"CARSDEPO_POLICY": str(tmp_path / "carsdepo.toml"), **ports}, home=tmp_path / "home")
    drop(sample, settings)

    started = CarsdepoDev(settings, tmp_path / "terminal.log")
    try:
        Server(settings, settings.home / "logs" / "dev.log").wait("a checkpoint", lambda: steps_kept(settings) > 0, 600)
        code, left = started.interrupt()
    finally:
        started.end()
    assert (code, left) == (dev.OK, [])
    assert "Traceback" not in started.shown()

    after_ctrl_c = steps_kept(settings)
    with dagster_dev(settings, tmp_path / "first.log") as server:
        server.wait("the next checkpoint", lambda: steps_kept(settings) > after_ctrl_c, 600)
        assert any(TRAINER in " ".join(p.cmdline()) for p in tree(server.pid) if lives(p))
        killed = kill_everything(server.pid)
        assert not any(lives(p) for p in killed)
    with dg.DagsterInstance.from_config(str(settings.dagster_home())) as instance:
        dead = instance.get_runs(dg.RunsFilter(job_name="train"))[0]
        assert dead.status == dg.DagsterRunStatus.STARTED  # no one was left to say otherwise
        assert instance.event_log_storage.get_concurrency_info("training").active_run_ids == {dead.run_id}
    after_crash = steps_kept(settings)

    with dagster_dev(settings, tmp_path / "second.log") as server:
        server.wait("the dead run reported", lambda: server.runs("train")[0]["runId"] != dead.run_id, 300)
        server.wait("the training done", lambda: server.runs("train")[0]["status"] == "SUCCESS", 900)
    with dg.DagsterInstance.from_config(str(settings.dagster_home())) as instance:
        runs = list(reversed(instance.get_runs(dg.RunsFilter(job_name="train"))))
        assert [r.status.value for r in runs] == ["FAILURE", "FAILURE", "SUCCESS"]
        assert [INTERRUPTED_TAG in r.tags for r in runs] == [True, True, False]  # max_attempts is 1
        first, second, third = (log_of(instance, r.run_id) for r in runs)
        assert "Going on from the checkpoint" not in first
        for text, kept in ((second, after_ctrl_c), (third, after_crash)):
            assert "Going on from the checkpoint" in text
            # The first step that a training reports; one that is begun anew reports its first.
            reported = re.search(r"step (\d+)(?: of|,)", text)
            assert reported is not None
            assert int(reported[1]) > kept >= 1
        assert not instance.event_log_storage.get_concurrency_info("training").claimed_slots
        tracking = resources(settings)["tracking"].tracking()
        assert tracking.status(tracking.find(dead.run_id)) == "FAILED"
    [model] = versions(tracking)
    assert model.aliases == ("candidate",)
