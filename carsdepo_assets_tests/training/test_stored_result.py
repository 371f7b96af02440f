"""training/worker.py: what the worker stores of a training that was interrupted."""

from __future__ import annotations

from pathlib import Path

import pytest

from carsdepo_assets.detectors.base import Recipe, Trained
from carsdepo_assets.evaluation.predict import Scored
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.lake.models import read_result
from carsdepo_assets.training.train_detector import Fit
from carsdepo_assets.training.worker import TrainingSpec, store
from carsdepo_assets_tests.training.tiny_dataset import tiny_dataset


@pytest.mark.parametrize(("last_attempt", "told"), [(3.0, 100.0), (104.04, 104.0)])
def test_the_seconds_of_a_model_are_those_of_all_attempts(last_attempt: float, told: float, tmp_path: Path) -> None:
    lake = Lake.open(tmp_path)
    spec = TrainingSpec(lake=lake.url, dataset_version=tiny_dataset(lake), recipe=Recipe())
    history = [{"epoch": 1.0, "seconds": 60.0}, {"epoch": 2.0, "seconds": 100.0}]
    fitted = Fit(Trained(tmp_path / "weights.pt", history, 8, 8), b"weights", 0.5, "test", Scored([], [], [], []))
    card, result = store(spec, lake, spec.policy, fitted, None, last_attempt)
    assert result["seconds"] == read_result(lake, card.digest)["seconds"] == told
