"""MLflow makes its tables in 2.5 s: once for all tests of this room."""

import shutil
from pathlib import Path

import pytest

from carsdepo_assets.registry.tracking import Tracking


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("empty_store")
    assert Tracking.at_home(home).client is not None
    return home / "mlflow.db"


@pytest.fixture
def home(empty_store: Path, tmp_path: Path) -> Path:
    """A CARSDEPO_HOME whose MLflow store is there and empty."""
    shutil.copy(empty_store, tmp_path / "mlflow.db")
    return tmp_path
