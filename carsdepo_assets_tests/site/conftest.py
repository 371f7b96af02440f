"""One filled installation for the tests that only read it, and empty ones for the others."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from carsdepo_assets_tests.site import example_lake


@pytest.fixture(scope="session")
def filled(empty_store: Path, tmp_path_factory: pytest.TempPathFactory) -> example_lake.Filled:
    home = tmp_path_factory.mktemp("filled")
    shutil.copy(empty_store, home / "mlflow.db")
    return example_lake.fill(home, example_lake.shots())


@pytest.fixture
def home(empty_store: Path, tmp_path: Path) -> Path:
    shutil.copy(empty_store, tmp_path / "mlflow.db")
    return tmp_path
