"""data/batches/batches.py: a tenth of the simulation of events that `make soak` runs in full."""

from __future__ import annotations

from pathlib import Path

import pytest

from carsdepo_assets_tests.data.event_simulation import LEAST_ROUNDS, simulate


@pytest.mark.slow
def test_ten_thousand_events_and_a_consumer_that_is_killed_lose_nothing_and_bring_nothing_twice(tmp_path: Path) -> None:
    simulated = simulate(tmp_path, 10_000, 1)
    print(simulated.line())
    assert simulated.is_right, simulated.line()
    assert (simulated.doubled, simulated.events_lost) == (500, 500)
    assert simulated.kills >= LEAST_ROUNDS
    assert 0 < simulated.missing_before <= 500  # what the events of the second half lost
