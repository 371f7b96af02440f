"""A receiver of alerts and a lake to remember them in."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from carsdepo_assets.lake.lake import Lake
from carsdepo_assets_tests.alerts.receiver import Receiver, receiver


@pytest.fixture
def hook() -> Iterator[Receiver]:
    with receiver() as state:
        yield state


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake.open(tmp_path / "lake")
