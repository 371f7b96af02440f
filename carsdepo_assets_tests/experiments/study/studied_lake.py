"""A lake with a tiny dataset, a plan of a study on it, and trainings that are only a formula."""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from carsdepo_assets.compute.worker.trial import TrialTerms
from carsdepo_assets.experiments.study.planning import StudyPlan, TrialPlace, make_plan, open_study
from carsdepo_assets.experiments.study.running import StudyRun
from carsdepo_assets.experiments.study.sampling import Sampler
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.lake.trials import Trial
from carsdepo_assets.policy import Policy, StudyPolicy, TrainingPolicy
from carsdepo_assets_tests.training.tiny_dataset import tiny_dataset

NOW = datetime(2030, 1, 2, tzinfo=UTC)
HERE = TrialPlace(name="a machine (here)", device="cpu")


def study_policy(**study: Any) -> Policy:
    """Trials of ten steps over one family, unless the test says otherwise."""
    settings = {"families": ["yolov8n"], "trial_steps": 10, "trials": 5} | study
    return Policy(training=TrainingPolicy(detector="yolov8n"), study=StudyPolicy.model_validate(settings))


def plan_of(lake: Lake, home: Path, place: TrialPlace = HERE, **study: Any) -> StudyPlan:
    return make_plan(lake, study_policy(**study), place, home, NOW)


def opened(tmp_path: Path, place: TrialPlace = HERE, **study: Any) -> tuple[Lake, StudyPlan]:
    lake = Lake.open(tmp_path / "lake")
    tiny_dataset(lake)
    return lake, open_study(lake, plan_of(lake, tmp_path, place, **study))


def formula(trial: Trial, terms: TrialTerms) -> Mapping[str, Any]:
    """A score that is best where the factor of the learning rate is 1.5."""
    value = 0.5 - abs(float(trial.asked.params.get("lr", 1.0)) - 1.5) / 10
    return {
        "state": "complete",
        "why": "all 10 planned steps",
        "value": value,
        "low": value - 0.05,
        "high": value + 0.05,
        "groups": 3,
        "curve": {"5": value / 2, "10": value},
        "steps": 10,
        "seconds": 6.0,
        "digest": f"model{trial.number}",
    }


def run_of(
    lake: Lake,
    plan: StudyPlan,
    home: Path,
    train: Callable[[Trial, TrialTerms], Mapping[str, Any]] = formula,
    said: list[str] | None = None,
) -> StudyRun:
    lines = [] if said is None else said
    file = home / "optuna.db"
    if not file.exists():
        file.write_bytes(_empty_storage())
    return StudyRun(lake, plan, Sampler(plan, f"sqlite:///{file}"), train, lines.append)


@functools.cache
def _empty_storage() -> bytes:
    """Optuna makes its tables in most of a second: once for all tests."""
    import optuna

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "optuna.db"
        optuna.storages.RDBStorage(f"sqlite:///{file}").engine.dispose()
        return file.read_bytes()
