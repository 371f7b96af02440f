"""training/progress_reports.py: a running training shows in the lake, in the log and in MLflow."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from carsdepo_assets.detectors.base import Progress, Trained
from carsdepo_assets.lake.lake import Lake, LakeError
from carsdepo_assets.lake.training_progress import TrainingProgress, read_progress
from carsdepo_assets.policy import TrainingPolicy
from carsdepo_assets.registry.tracking import Tracking
from carsdepo_assets.training.progress_reports import Watching, first_progress
from carsdepo_assets_tests.registry.conftest import home, tracking

__all__ = ["home", "tracking"]

OFTEN = TrainingPolicy(progress_every_s=0.02, log_every_s=1e-9)


class Lines:
    def __init__(self) -> None:
        self.lines: list[str] = []

    def log(self, line: str) -> None:
        self.lines.append(line)

    def report(self, result: Mapping[str, Any], data_version: str) -> None:
        raise AssertionError("nothing to report")


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake.open(tmp_path / "lake")


def watching(
    lake: Lake, policy: TrainingPolicy = OFTEN, tracking: Tracking | None = None
) -> tuple[Watching, list[str]]:
    heard = Lines()
    run_id = tracking.begin(None, "a training") if tracking else None
    return Watching(lake, heard, policy, first_progress("run-1", "yolov8n", "d1", "r1"), tracking, run_id), heard.lines


def at(lake: Lake) -> TrainingProgress:
    progress = read_progress(lake)
    assert progress is not None
    return progress


def step(number: int, loss: float | None = 3.0, *, validating: bool = False) -> Progress:
    return Progress(1 + number // 10, number, 40, 2.0 * number, 80.0 - 2 * number, loss, validating)


def test_a_training_that_says_nothing_still_gives_signs_of_life(lake: Lake) -> None:
    seen, _ = watching(lake)
    with seen:
        first = at(lake)
        assert (first.state, first.steps, first.run_id) == ("running", 0, "run-1")
        while at(lake).updated_at == first.updated_at:  # ends: the thread writes every 0.02 s
            time.sleep(0.01)
        assert at(lake).seconds > first.seconds
        seen.watch(step(12))
        while at(lake).steps != 12:
            time.sleep(0.01)
        assert at(lake).figures == {"loss": 3.0}
        seen.watch(step(12, validating=True))
        while at(lake).state != "evaluating":
            time.sleep(0.01)


@pytest.mark.parametrize(
    ("taken", "state", "detail"),
    [(40, "finished", "all 40 planned steps"), (12, "stopped_by_time", "stopped by time after 12 of 40 steps")],
)
def test_it_says_how_it_ended(lake: Lake, taken: int, state: str, detail: str) -> None:
    seen, lines = watching(lake)
    trained = Trained(Path("weights.pt"), [], taken, 40)
    with seen:
        seen.watch(step(taken))
        seen.trained(trained)
        seen.stored(trained, {"threshold": 0.2})
    last = at(lake)
    assert (last.state, last.detail, last.steps, last.seconds_left) == (state, detail, taken, None)
    assert lines[-1] == f"The training ended: {detail}."


@pytest.mark.parametrize(
    ("error", "detail"),
    [
        (ValueError("the loss is nan"), "the loss is nan"),
        (SystemExit(143), "it was told to stop"),
        (OSError(), "OSErr"),
    ],
)
def test_a_failure_is_no_running_training(lake: Lake, error: BaseException, detail: str) -> None:
    seen, _ = watching(lake)

    def fail() -> None:
        with seen:
            seen.watch(step(3))
            raise error

    with pytest.raises(type(error)):
        fail()
    last = at(lake)
    assert last.state == "failed"
    assert last.detail.startswith(detail)
    assert last.steps == 3
    assert not seen.thread.is_alive()


def test_the_log_gets_a_rounded_line_now_and_then_and_every_epoch(lake: Lake) -> None:
    seen, lines = watching(lake, TrainingPolicy(progress_every_s=60, log_every_s=3600))
    with seen:
        for number in range(1, 200):
            seen.watch(step(number))
        seen.report({"epoch": 1.0, "steps": 10.0, "planned_steps": 40.0, "epochs_planned": 4.0, "loss": 1.23456})
    assert lines == ["epoch 1/4: step 10, loss 1.235"]
    often, lines = watching(lake)
    with often:
        often.watch(step(12, 3.14159))
    assert lines == ["step 12 of 40 (epoch 2), loss 3.14; 24 s spent, about 56 s left"]


@pytest.mark.slow
def test_mlflow_gets_losses_and_figures_by_step(lake: Lake, tracking: Tracking) -> None:
    seen, _ = watching(lake, tracking=tracking)
    trained = Trained(Path("weights.pt"), [], 20, 40)
    with seen:
        seen.watch(step(5, 4.0))
        seen.watch(step(7, 3.5))
        row = {"epoch": 1.0, "steps": 10.0, "planned_steps": 40.0, "epochs_planned": 4.0, "loss": 3.0}
        seen.report({**row, "val_map50": 0.123456789})
        seen.report({**row, "epoch": 2.0, "steps": 20.0, "val_map50": 0.2})
        seen.stored(trained, {"threshold": 0.31})
    assert seen.run_id is not None

    def logged(name: str) -> list[tuple[int, float]]:
        return [(m.step, m.value) for m in tracking.client.get_metric_history(str(seen.run_id), name)]

    assert logged("train_loss") == [(5, 4.0), (7, 3.5)]
    assert logged("val_map50") == [(10, 0.123456789), (20, 0.2)]  # unrounded: people see them rounded
    assert logged("epoch") == [(10, 1.0), (20, 2.0)]
    assert logged("threshold") == [(20, 0.31)]


def test_a_lake_that_cannot_be_written_costs_no_training(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(key: str, data: bytes) -> None:
        raise LakeError("the disk is full")

    monkeypatch.setattr(lake, "put", refuse)
    seen, lines = watching(lake)
    with seen:
        seen.watch(step(1))
    assert "This training's progress could not be written to the lake: the disk is full" in lines
