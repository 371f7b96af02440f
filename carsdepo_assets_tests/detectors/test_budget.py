"""detectors/pace.py: a training's end by plan and by the clock.

The clock is the test's own: how busy the machine is plays no part.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from carsdepo_assets.detectors import pace as paces
from carsdepo_assets.detectors.base import Progress, Recipe, Trained, TrainingSet
from carsdepo_assets.detectors.catalogue import get_detector
from carsdepo_assets.detectors.pace import Every, Pace
from carsdepo_assets_tests.detectors.scenes import scenes

NAMES = ("yolov8n", "faster_rcnn")  # one of each loop
PER_EPOCH = 6  # optimizer steps: 12 images in batches of 2


class Clock:
    """Stands still but for what a step and a validation are said to take, in seconds."""

    def __init__(self, step: float, validation: float) -> None:
        self.now, self.step, self.validation = 1000.0, step, validation

    def __call__(self) -> float:
        return self.now


@contextmanager
def on_clock(step: float, validation: float = 0.0) -> Iterator[Clock]:
    """A step of the training takes exactly `step` seconds, a validation exactly `validation`."""
    clock = Clock(step, validation)
    counted, validating = Pace.step, Pace.validating

    def timed(self: Pace) -> bool:
        clock.now += clock.step
        return counted(self)

    @contextmanager
    def slow(self: Pace) -> Iterator[None]:
        with validating(self):
            clock.now += clock.validation
            yield

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(paces, "monotonic", clock)
        patch.setattr(Pace, "step", timed)
        patch.setattr(Pace, "validating", slow)
        yield clock


def recipe(detector: str, **values: Any) -> Recipe:
    usual = {"init": "imagenet", "freeze": 5, "lr": 0.0005} if detector == "faster_rcnn" else {}
    common = {"detector": detector, "image_size": 64, "batch": 2, "epochs": 5, "extra": {"threads": 1}}
    return Recipe.model_validate({**common, **usual, **values})


def data(folder: Path) -> TrainingSet:
    return scenes(folder / "images", 12, 1)


def weights(trained: Trained) -> dict[str, Any]:
    import torch

    state: dict[str, Any] = torch.load(trained.weights, weights_only=True)["state"]
    return state


@pytest.mark.slow
@pytest.mark.parametrize("detector", NAMES)
def test_minutes_that_end_inside_a_long_epoch_end_the_training_there(detector: str, tmp_path: Path) -> None:
    rows: list[dict[str, float]] = []
    asked = recipe(detector, minutes=13.5 / 60)
    with on_clock(step=3.0, validation=2.0):
        trained = get_detector(detector).train(data(tmp_path), asked, tmp_path / "out", rows.append, spent_s=2.0)
    assert trained.steps == 4  # 2 s to read the dataset and 3 s a step: the fourth passes 13.5 s
    assert trained.planned_steps == 5 * PER_EPOCH
    assert trained.stopped_by_time
    assert trained.ended == "stopped by time after 4 of 30 steps"
    assert rows == trained.history
    assert [(r["epoch"], r["steps"], r["seconds"]) for r in rows] == [(1, 4, 16)]  # 2.5 s late: a step and validation
    assert "val_map50" in rows[0]  # what was learnt till then is measured
    get_detector(detector).load(trained.weights, ("scratch", "dent"), 64)
    with on_clock(step=3.0):  # started again it is what it was
        again = get_detector(detector).train(data(tmp_path), asked, tmp_path / "out", rows.append)
    assert (again.steps, again.planned_steps, len(rows)) == (4, 30, 1)


@pytest.mark.slow
@pytest.mark.parametrize("detector", NAMES)
def test_a_training_planned_in_steps_does_not_hang_on_the_machine(detector: str, tmp_path: Path) -> None:
    """A machine 200 times as slow takes the same steps at the same rates to the same weights."""
    import torch

    ends: list[Trained] = []
    for step_s in (0.1, 20.0):
        with on_clock(step=step_s, validation=10 * step_s):
            ends.append(
                get_detector(detector).train(
                    data(tmp_path), recipe(detector, steps=8, minutes=60), tmp_path / f"{step_s}", lambda row: None
                )
            )
    fast, slow = ends
    assert [t.steps for t in ends] == [8, 8]
    assert [t.planned_steps for t in ends] == [8, 8]
    assert fast.ended == "all 8 planned steps"
    assert [r["steps"] for r in fast.history] == [PER_EPOCH, 8]  # the last epoch is a part of one
    assert [r["lr"] for r in fast.history] == [r["lr"] for r in slow.history]
    assert fast.history[1]["lr"] < 0.35 * fast.history[0]["lr"]  # the rate falls over the 8 steps, not over 12 or 30
    states = [weights(t) for t in ends]
    assert all(torch.allclose(states[0][k], states[1][k], atol=1e-6) for k in states[0])


@pytest.mark.slow
@pytest.mark.parametrize("detector", NAMES)
def test_minutes_are_a_far_cap_of_planned_steps(detector: str, tmp_path: Path) -> None:
    with on_clock(step=10.0):
        trained = get_detector(detector).train(
            data(tmp_path), recipe(detector, steps=400, minutes=0.4), tmp_path / "out", lambda row: None
        )
    assert trained.ended == "stopped by time after 3 of 400 steps"


class Killed(BaseException):
    """Ends a training where it stands, as a kill would: nothing catches it."""


@pytest.mark.slow
@pytest.mark.parametrize("detector", NAMES)
def test_killed_inside_an_epoch_it_goes_on_there_to_the_same_weights(
    detector: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    from carsdepo_assets.detectors import training_loop
    from carsdepo_assets.detectors.yolov8 import training as yolov8_training

    for module in (training_loop, yolov8_training):
        monkeypatch.setattr(module, "TELL_EVERY_S", 0.0)
    asked = recipe(detector, steps=14)

    def train(out: Path, kill_at: int | None = None) -> tuple[Trained | None, list[Progress]]:
        seen: list[Progress] = []

        def watch(progress: Progress) -> None:
            seen.append(progress)
            if progress.steps == kill_at:
                raise Killed

        with on_clock(step=1.0):
            try:
                trained = get_detector(detector).train(data(tmp_path), asked, out, lambda row: None, watch=watch)
            except Killed:
                return None, seen
        return trained, seen

    whole, _ = train(tmp_path / "whole")
    assert whole is not None
    for module in (training_loop, yolov8_training):
        monkeypatch.setattr(module, "CHECKPOINT_EVERY_S", 4.0)
        monkeypatch.setattr(module, "CHECKPOINT_SHARE", float("inf"))
    assert train(tmp_path / "killed", kill_at=11)[0] is None  # in the middle of the second epoch
    resumed, seen = train(tmp_path / "killed")
    assert resumed is not None
    steps = [p.steps for p in seen if not p.validating]
    assert steps == [11, 12, 13, 14]  # the checkpoint is of the tenth, four seconds after that of the first epoch
    assert seen[0].seconds == 11.0  # those of the first attempt count
    assert [p.epoch for p in seen] == [2, 2, 2, 3, 3, 3]  # each epoch's validation among them
    assert [r["steps"] for r in resumed.history] == [6, 12, 14]
    assert [round(r["loss"], 4) for r in resumed.history] == [round(r["loss"], 4) for r in whole.history]
    states = [weights(t) for t in (whole, resumed)]
    assert all(torch.allclose(states[0][k], states[1][k], atol=1e-5) for k in states[0])


def test_a_validation_is_part_of_the_budget() -> None:
    with on_clock(step=10.0, validation=15.0) as clock:
        pace = Pace(minutes=1.0, epochs=9)
        assert not pace.step()
        with pace.validating():
            pass
        assert (clock.now - 1000.0, pace.spent()) == (25.0, 25.0)
        assert not pace.over()
        assert not pace.step()  # 35 s, and 15 s for the next validation
        assert pace.step()  # 45 s: another step would leave less than it takes to measure what was learnt
        assert pace.spent() + pace.validation_s <= 60


def test_what_is_left_is_told_by_the_steps_and_the_minutes() -> None:
    with on_clock(step=2.0):
        pace = Pace(minutes=10.0, epochs=1, steps=100)
        assert pace.seconds_left(100) is None
        assert Pace(minutes=10.0, epochs=9).seconds_left(100) == 600.0  # before the first step only the minutes tell
        for _ in range(10):
            pace.step()
        assert pace.seconds_left(100) == pytest.approx(180.0)
        assert Pace(minutes=None, epochs=1, steps=100).seconds_left(100) is None


def test_the_steps_that_are_expected_fit_into_the_minutes() -> None:
    with on_clock(step=2.0):
        pace = Pace(minutes=1.0, epochs=22)
        assert pace.expected_steps(462) == 462  # nothing is known of the pace yet
        for _ in range(10):
            pace.step()
        assert pace.expected_steps(462) == pytest.approx(30, abs=1)
        assert pace.expected_steps(12) == 12
        planned_in_steps = Pace(minutes=1.0, epochs=22, steps=462)
        no_minutes = Pace(minutes=None, epochs=22)
        for other in (planned_in_steps, no_minutes):
            for _ in range(10):
                other.step()
            assert other.expected_steps(462) == 462


def test_a_slow_checkpoint_is_written_less_often() -> None:
    with on_clock(step=0.0) as clock:
        every = Every(30.0, share=0.02)
        assert not every.due()
        clock.now += 30.0
        assert every.due()
        with every.timed():
            clock.now += 3.0
        clock.now += 149.0
        assert not every.due()
        clock.now += 2.0  # 3 s are 2 % of 150 s
        assert every.due()
