"""benchmarks/plan.py, benchmarks/plan_arrivals.py, benchmarks/plan_year.py: days of the planner, with everything in a
batch and every batch in a run; and that a limit which is broken is said."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest

from benchmarks.__main__ import broken_limits
from benchmarks.plan import load_of, rows_of
from benchmarks.plan_arrivals import START, Arrivals, Waiting, moment, photographs
from benchmarks.plan_costs import Measured
from benchmarks.plan_year import DAY, Costs, Design, Load, Planner, Year
from carsdepo_assets.data.batches.batches import plan_batches
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.policy import Policy
from carsdepo_assets_tests.data.batches.test_batches import drop

MEASURED = Measured(
    database="postgres", load_s=3, batch_s=5, photograph_s=0.01, label_s=0.002, plan_s=0.0001, ask_each_s=0.02,
    ask_s=0.0002, events_a_run=50, run_bytes=200_000, commits_a_batch=6, log_bytes_a_batch=8000, gets_a_photograph=4,
    puts_a_photograph=1, index_bytes=250, index_s=2e-5, index_memory=1000,
)  # fmt: skip
SMALL = Design(Policy.model_validate({"data": {"batch_max_images": 50}}), 5, 4, 3)


def planned(load: Load, design: Design = SMALL) -> Year:
    return Planner(load, design, Costs(interrupted=0.2)).run()


def test_two_days_leave_nothing_and_take_nothing_twice() -> None:
    """With a burst, an hour in which the platform is down, an import, and a fifth of the runs interrupted."""
    load = load_of(days=2, a_day=3000, imported=1200)
    year = planned(load)
    for name, (_, arrivals) in load.streams.items():
        parts = [(batch.start, batch.end) for batch in year.batches if batch.stream == name]
        assert [start for start, _ in parts] == [0, *(end for _, end in parts[:-1])]
        assert parts[-1][1] == arrivals.total > 0
    assert all(batch.requested == 1 and batch.ingested is not None for batch in year.batches)
    assert all(batch.ingested > batch.closed for batch in year.batches if batch.ingested)
    assert not [batch for batch in year.batches if load.down[0] <= batch.closed < load.down[1]]
    assert year.left == 0
    assert year.runs["uploads"] + year.runs["labels"] > len(year.batches)  # those that were interrupted ran again
    assert year.most_at_once == SMALL.max_runs


def test_the_same_seed_gives_the_same_year() -> None:
    one, other = (planned(load_of(days=2, a_day=3000, imported=200)) for _ in range(2))
    assert one == other


def test_a_limit_that_is_broken_is_said() -> None:
    load = load_of(days=2, a_day=3000, imported=1200)
    fine = list(rows_of(planned(load), load, SMALL, MEASURED, "now"))
    slow = replace(SMALL, requests_a_tick=1, max_runs=1, max_batch_runs=1)
    broken = list(rows_of(planned(load, slow), load, slow, MEASURED, "now"))
    names = [line.split(": ")[2] for line in broken_limits("plan", broken)]
    assert "photograph to ingested, 95 %" in names
    assert "photograph to ingested, 95 %" not in [line.split(": ")[2] for line in broken_limits("plan", fine)]


def test_the_simulated_planner_closes_what_the_product_closes(tmp_path: Path) -> None:
    """Files of a lake, written as the simulation says, are closed by plan_batches at the same times in equal parts."""
    counts = np.zeros(30, np.int64)
    counts[[0, 1, 2, 5, 6, 7, 8, 9, 10, 11, 12, 20]] = [30, 40, 7, 3, 3, 3, 3, 3, 3, 3, 3, 2]
    arrivals = Arrivals(counts)
    policy = Policy.model_validate(
        {"data": {"batch_max_images": 50, "batch_max_age_s": 30, "batch_max_wait_s": 300, "reconcile_s": 0}}
    )
    load = Load(1, {"uploads": ("uploads", arrivals)})
    year = planned(load, Design(policy, 5, 4, 4))
    lake, there, found = Lake.open(tmp_path), 0, []
    for second in sorted({batch.closed for batch in year.batches} | {60.0, 500.0}):
        for number in range(there, arrivals.until(second)):
            drop(lake, f"raw/uploads/{number:04d}.jpg", at=moment(arrivals.at(number)))
        there = max(there, arrivals.until(second))
        for manifest in plan_batches(lake, "uploads", policy, moment(second)):
            found.append((second, len(manifest.objects)))
    assert found == [(batch.closed, batch.end - batch.start) for batch in year.batches]
    assert sum(size for _, size in found) == arrivals.total


@pytest.mark.parametrize("number", [0, 1, 499, 999])
def test_arrivals_and_their_times_agree(number: int) -> None:
    arrivals = photographs(1000, 2, 1)
    assert arrivals.until(arrivals.at(number)) == number + 1
    assert arrivals.until(2 * DAY) == arrivals.total
    waiting = Waiting(arrivals, number, number + 3)
    assert list(waiting) == sorted(waiting) == waiting[0:3]
    assert waiting[0] == START + timedelta(seconds=arrivals.at(number))


def test_the_year_is_a_million_a_day() -> None:
    assert photographs(1000, 364, 1).total == pytest.approx(364_000, rel=0.01)
