"""Homes with an MLflow store that is there and empty."""

import shutil
from pathlib import Path

import pytest


@pytest.fixture
def home(empty_store: Path, tmp_path: Path) -> Path:
    """A CARSDEPO_HOME whose MLflow store is there and empty."""
    shutil.copy(empty_store, tmp_path / "mlflow.db")
    return tmp_path
