"""training/trial.py, training/worker.py, compute/worker/trial.py: when a trial is pruned, what it leaves, left once."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from carsdepo_assets.compute.worker.events import Events
from carsdepo_assets.compute.worker.trial import TrialTerms
from carsdepo_assets.detectors.base import Recipe
from carsdepo_assets.detectors.checkpoints import DetectorError
from carsdepo_assets.lake.datasets import DatasetErased
from carsdepo_assets.lake.lake import Lake, LakeError
from carsdepo_assets.lake.trials import on_rungs
from carsdepo_assets.policy import Policy, TrainingPolicy
from carsdepo_assets.training.trial import Pruning, TrialPruned, should_prune, train_as_trial
from carsdepo_assets.training.worker import TrainingSpec, run
from carsdepo_assets_tests.training.tiny_dataset import tiny_dataset

GOOD = {rung: rung / 20 for rung in range(1, 11)}


def terms(**changes: Any) -> TrialTerms:
    fields = {"study": "s", "number": 3, "pruner": "median", "prune_startup": 2, "curves": (GOOD, GOOD)}
    return TrialTerms.model_validate(fields | changes)


class Told:
    """Stands where a worker reports to."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.reports: list[tuple[dict[str, Any], str]] = []

    def log(self, line: str) -> None:
        self.lines.append(line)

    def report(self, result: Mapping[str, Any], data_version: str) -> None:
        self.reports.append((dict(result), data_version))


@pytest.mark.parametrize(
    ("history", "planned", "curve"),
    [
        ([], 10, {}),
        ([{"steps": 10, "val_map50": 0.4}], 10, {10: 0.4}),
        ([{"steps": 3, "val_map50": 0.2}, {"steps": 6, "val_map50": 0.1}], 10, {3: 0.2, 4: 0.2, 5: 0.2, 6: 0.2}),
        ([{"steps": 1, "val_map50": 0.2}], 100, {1: 0.2}),  # less than a tenth: the first rung
        ([{"steps": 12, "val_map50": 0.2}], 10, {10: 0.2}),
        ([{"steps": 5}], 10, {}),
    ],
)
def test_rungs(history: list[dict[str, float]], planned: int, curve: dict[int, float]) -> None:
    assert on_rungs(history, planned) == curve


@pytest.mark.parametrize(
    ("changes", "curve", "pruned"),
    [
        ({}, {5: 0.1}, True),
        ({}, {5: 0.3}, False),
        ({}, {}, False),
        ({"pruner": "none"}, {5: 0.0}, False),
        ({"prune_after": 0.6}, {5: 0.0}, False),
        ({"prune_after": 0.5}, {5: 0.0}, True),
        ({"prune_startup": 3}, {5: 0.0}, False),
        ({"curves": ()}, {5: 0.0}, False),
        ({"pruner": "hyperband", "curves": (GOOD,) * 9, "prune_after": 0.0}, {9: 0.5}, False),
    ],
)
def test_the_pruners_decision(changes: dict[str, Any], curve: dict[int, float], pruned: bool) -> None:
    assert should_prune(terms(**changes), curve) is pruned


def test_a_trial_that_goes_on_knows_the_epochs_before_the_kill(tmp_path: Path) -> None:
    lake, at = Lake.open(tmp_path), terms(curves=())
    before = Pruning(lake, at)
    for epoch in (1, 2):
        before.report({"epoch": epoch, "steps": 2 * epoch, "planned_steps": 10, "val_map50": 0.1 * epoch})
    after = Pruning(lake, at)  # killed before the checkpoint of epoch 2: it is trained and reported again
    after.report({"epoch": 2, "steps": 4, "planned_steps": 10, "val_map50": 0.3, "loss": float("nan")})
    assert [(r["epoch"], r["val_map50"]) for r in at.epochs(lake)] == [(1, 0.1), (2, 0.3)]
    Pruning(lake, None).report({"epoch": 1})  # no trial: nothing is looked at


def test_results_are_left_once(tmp_path: Path) -> None:
    lake, at, events, calls = Lake.open(tmp_path), terms(curves=()), Told(), []

    def train(inner: Events) -> None:
        calls.append(1)
        figures = {"value": 0.4, "low": 0.3, "high": 0.5, "groups": 3, "digest": "m", "seconds": 7.0}
        inner.report(figures | {"mlflow_run_id": None, "training": "all 10 planned steps", "history": []}, "m")

    train_as_trial(lake, at, train, events)
    train_as_trial(lake, at, train, events)  # its report was lost with the process
    assert calls == [1]
    assert [version for _, version in events.reports] == ["s-3", "s-3"]
    result = at.result(lake)
    assert result is not None
    assert (result["state"], result["value"], result["why"]) == ("complete", 0.4, "all 10 planned steps")
    assert events.reports[0][0]["value"] == 0.4


@pytest.mark.parametrize(
    ("error", "state"),
    [
        (DetectorError("training diverged"), "failed"),
        (RuntimeError("CUDA out of memory"), "failed"),
        (
            TrialPruned(5, 0.1, [{"epoch": 1, "steps": 5, "planned_steps": 10, "val_map50": 0.1, "seconds": 2}]),
            "pruned",
        ),
        (LakeError("the bucket does not answer"), None),
        (DatasetErased("photographs are not there"), None),
        (OSError("no space left"), None),
        (SystemExit(143), None),
    ],
)
def test_what_is_of_the_recipe_ends_the_trial_and_the_rest_does_not(
    error: BaseException, state: str | None, tmp_path: Path
) -> None:
    lake, at, events = Lake.open(tmp_path), terms(curves=()), Told()

    def train(inner: Events) -> None:
        raise error

    if state is None:
        with pytest.raises(type(error)):
            train_as_trial(lake, at, train, events)
        assert at.result(lake) is None
        assert events.reports == []
        return
    train_as_trial(lake, at, train, events)
    result = at.result(lake)
    assert result is not None
    assert result["state"] == state
    assert str(error) in result["why"]
    assert (result["curve"] == {"5": 0.1}) == (state == "pruned")


def test_a_trial_without_a_work_folder_ends_its_job_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that failed before its first step, and one whose result was left by a job that died before its report."""
    monkeypatch.setenv("CARSDEPO_WORK", str(tmp_path / "work"))
    lake, told = Lake.open(tmp_path / "lake"), Told()
    policy = Policy(training=TrainingPolicy(min_photographs=100))
    spec = TrainingSpec(
        lake=lake.url, policy=policy, dataset_version=tiny_dataset(lake), recipe=Recipe(), trial=terms(curves=())
    )
    for _ in range(2):
        with ExitStack() as after:
            run(spec, told, after)
    assert [(result["state"], "needs 100" in result["why"]) for result, _ in told.reports] == [("failed", True)] * 2
