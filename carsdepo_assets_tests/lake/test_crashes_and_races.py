"""lake/objects.py, lake/tables.py: processes that are killed, and several at once, on both kinds of lake."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

from carsdepo_assets.lake.lake import Lake

pytestmark = pytest.mark.slow

ROWS = 300_000

APPEND = f"""
import os, signal, sys, time
import pyarrow as pa
from carsdepo_assets.lake import tables
from carsdepo_assets.lake.lake import Lake

def die(*args, **kwargs):
    os.kill(os.getpid(), signal.SIGKILL)

stage = sys.argv[2]
if stage == "created":       # the table stands, nothing is written
    tables.write_deltalake = die
elif stage == "committed":   # the commit stands, the caller never hears of it
    tables.Tables._settle = die
rows = pa.table({{"image_id": pa.array(str(i * 7919) for i in range({ROWS}))}})
Lake.open(sys.argv[1]).append("splits", rows, "u")
time.sleep(120)  # waits to be killed, should the append be done before the test looks
"""

RACE = """
import sys, time
from carsdepo_assets.lake.lake import Lake
lake = Lake.open(sys.argv[1])
units = sys.argv[3:]
time.sleep(max(0.0, float(sys.argv[2]) - time.time()))
print(sum(lake.append("splits", [{"image_id": unit}], unit) for unit in units))
"""


def launch(code: str, *args: str) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", code, *args], stdout=subprocess.PIPE, text=True)


@pytest.mark.parametrize("stage", ["created", "rows", "committed"])
def test_a_killed_append_is_finished_by_the_next_run(lake: Lake, stage: str) -> None:
    process = launch(APPEND, lake.url, stage)
    try:
        if stage == "rows":  # in the middle of writing the rows, or between them and the commit
            deadline = time.monotonic() + 60
            while not any(".parquet" in o.key for o in lake.list("tables/splits")):
                assert time.monotonic() < deadline
                assert process.poll() is None
            process.kill()
        assert process.wait(60) == -9
    finally:
        process.kill()
        process.communicate()
    before = lake.read("splits").num_rows
    assert before == {"created": 0, "committed": ROWS}.get(stage, before)
    assert before in (0, ROWS)
    assert lake.committed("splits", "u") == (before == ROWS)
    assert lake.version("splits") >= 0
    again = [{"image_id": str(i)} for i in range(ROWS)]
    assert lake.append("splits", again, "u") == (before == 0)
    assert not lake.append("splits", again, "u")
    assert lake.read("splits").num_rows == ROWS


@pytest.mark.parametrize(
    ("units", "landed"),
    [
        ([["a1", "a2", "a3"], ["b1", "b2", "b3"], ["c1", "c2", "c3"]], 9),  # all different
        ([["same"], ["same"], ["same"], ["same"]], 1),
        ([["x", "y"], ["y", "x"]], 2),
    ],
)
def test_appends_that_meet(lake: Lake, units: list[list[str]], landed: int) -> None:
    """The table does not exist yet, so the processes also race to create it."""
    start = str(time.time() + 1.5)
    processes = [launch(RACE, lake.url, start, *own) for own in units]
    answers = [process.communicate(timeout=60)[0].split() for process in processes]
    assert [process.returncode for process in processes] == [0] * len(units)
    assert sum(int(answer[0]) for answer in answers) == landed
    assert sorted(lake.read("splits")["image_id"].to_pylist()) == sorted({u for own in units for u in own})
    assert lake.version("splits") == landed  # version 0 made it, each commit is one more
