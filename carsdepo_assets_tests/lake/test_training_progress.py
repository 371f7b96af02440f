"""lake/training_progress.py: what readers see of the object that a training keeps rewriting."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.lake.training_progress import (
    KEY,
    TrainingProgress,
    duration,
    read_progress,
    training_status,
    write_progress,
)

NOON = datetime(2026, 7, 1, 12, tzinfo=UTC)


def progress(**values: Any) -> TrainingProgress:
    usual = {
        "run_id": "run-1",
        "detector": "yolov8n",
        "dataset": "1a2b3c4d5e6f",
        "recipe": "abc",
        "epoch": 2,
        "steps": 1200,
        "planned_steps": 5000,
        "seconds": 45.0,
        "seconds_left": 80.4,
        "figures": {"loss": 3.21456, "val_map50": 0.41234, "val_recall": 0.3},
        "started_at": NOON,
        "updated_at": NOON,
    }
    return TrainingProgress.model_validate({**usual, **values})


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake.open(tmp_path / "lake")


def test_before_the_first_training_there_is_nothing(lake: Lake) -> None:
    assert read_progress(lake) is None
    assert training_status(lake, 60.0) is None


def test_what_is_written_is_read(lake: Lake) -> None:
    write_progress(lake, progress())
    assert read_progress(lake) == progress()
    assert progress().share == 0.24
    assert progress(planned_steps=None).share == 0.0
    assert read_progress(lake, since=NOON) is not None
    assert read_progress(lake, since=NOON + timedelta(seconds=1)) is None  # a bar does not show the training before
    lake.put(KEY, b'{"half": ')
    assert read_progress(lake) is None


@pytest.mark.parametrize(
    ("state", "detail", "says"),
    [
        (
            "running",
            "",
            "yolov8n on dataset 1a2b3c4d trains: step 1,200 of 5,000 (epoch 2), loss 3.21, mAP@.5 0.412 on val; "
            "45 s spent, about 1 min 20 s left.",
        ),
        ("evaluating", "", "yolov8n on dataset 1a2b3c4d is being evaluated: step 1,200 of 5,000"),
        ("finished", "all 5,000 planned steps", "ended at 2026-07-01 12:00 UTC: all 5,000 planned steps, loss 3.21"),
        ("stopped_by_time", "stopped by time after 1,200 of 5,000 steps", "stopped by time after 1,200 of 5,000 steps"),
        ("failed", "the loss is nan", "failed at 2026-07-01 12:00 UTC, at step 1,200 of 5,000"),
    ],
)
def test_every_state_has_its_sentence(lake: Lake, state: str, detail: str, says: str) -> None:
    write_progress(lake, progress(state=state, detail=detail))
    seen = training_status(lake, 60.0, NOON + timedelta(seconds=59))
    assert seen is not None
    assert says in seen.text
    assert seen.under_way == (state in ("running", "evaluating"))
    assert seen.to_dict()["steps"] == 1200


@pytest.mark.parametrize("state", ["running", "evaluating"])
def test_a_killed_training_does_not_run_for_ever(lake: Lake, state: str) -> None:
    write_progress(lake, progress(state=state))
    seen = training_status(lake, 60.0, NOON + timedelta(seconds=61))
    assert seen is not None
    assert (seen.silent, seen.under_way) == (True, False)
    assert "no sign of life since 2026-07-01 12:00:00 UTC, at step 1,200 of 5,000" in seen.text


def test_a_training_that_ended_is_never_silent(lake: Lake) -> None:
    write_progress(lake, progress(state="finished", detail="all 5,000 planned steps"))
    seen = training_status(lake, 60.0, NOON + timedelta(days=30))
    assert seen is not None
    assert not seen.silent


@pytest.mark.parametrize(("seconds", "text"), [(-1, "0 s"), (59.4, "59 s"), (80, "1 min 20 s"), (7500, "2 h 5 min")])
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text
