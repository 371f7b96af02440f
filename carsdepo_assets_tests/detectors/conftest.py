"""State of the detectors' tests goes to a temporary folder; one thread, as machines that run tests are shared."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(autouse=True, scope="session")
def _carsdepo_home(tmp_path_factory: pytest.TempPathFactory) -> None:
    # For the session: ultralytics reads its settings once, at its first import.
    os.environ.setdefault("CARSDEPO_HOME", str(tmp_path_factory.mktemp("home")))


@pytest.fixture
def empty_cwd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cwd"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder
