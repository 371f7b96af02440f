"""data/batches/batches.py: a tenth of the simulation of events that `make soak` runs in full."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from carsdepo_assets_tests.data.event_simulation import LEAST_ROUNDS


@pytest.mark.slow
def test_ten_thousand_events_and_a_consumer_that_is_killed_lose_nothing_and_bring_nothing_twice() -> None:
    # A process of its own: the consumers are forked, and threads of other tests would stay behind.
    command = [sys.executable, "-m", "carsdepo_assets_tests.data.event_simulation", "--events", "10000"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=280, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "10,000 events, 500 doubled, 500 lost" in ended.stdout
    figures = re.search(r"killed (\d+) times: 0 photographs lost, 0 twice .*before it (\d+) missing, 0 ", ended.stdout)
    assert figures is not None, ended.stdout
    assert int(figures[1]) >= LEAST_ROUNDS
    assert 0 < int(figures[2]) <= 500  # what the events of the second half lost, and nothing else
