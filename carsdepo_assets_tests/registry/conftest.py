"""Homes with an MLflow store that is there and empty."""

import shutil
from pathlib import Path

import pytest

from carsdepo_assets.registry.tracking import Tracking


@pytest.fixture
def home(empty_store: Path, tmp_path: Path) -> Path:
    """A CARSDEPO_HOME whose MLflow store is there and empty."""
    shutil.copy(empty_store, tmp_path / "mlflow.db")
    return tmp_path


@pytest.fixture
def tracking(home: Path) -> Tracking:
    return Tracking.at_home(home)
