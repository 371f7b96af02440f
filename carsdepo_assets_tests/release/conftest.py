"""A released lake for each test, with MLflow's tables from the registry's template."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from carsdepo_assets_tests.registry.conftest import home
from carsdepo_assets_tests.release.released_lake import World, world_in

__all__ = ["home", "world"]


@pytest.fixture
def world(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    with world_in(home, monkeypatch) as world:
        yield world
