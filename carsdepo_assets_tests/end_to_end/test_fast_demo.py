"""demo/cli.py: `carsdepo demo --fast` as a newcomer runs it.

It ends with the first model, says so, and uses a lake of its own; a narrow terminal shows its progress.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from carsdepo_assets.demo.train_loop import FAST_IMAGES
from carsdepo_assets.lake.lake import Lake

TOOL = str(Path(sys.executable).with_name("carsdepo"))


def environment(**more: str) -> dict[str, str]:
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("CARSDEPO_", "DAGSTER_"))}
    return clean | {"COLUMNS": "80"} | more


def demo(home: Path, **more: str) -> str:
    """What it printed; on stderr nothing."""
    done = subprocess.run(
        [TOOL, "demo", "--fast", "--home", str(home)],
        env=environment(**more),
        capture_output=True,
        text=True,
        timeout=1200,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    return done.stdout


def places(value: object) -> set[str]:
    """Every path and URL in the lineage, which the demo shows for people."""
    if isinstance(value, dict):
        return set().union(*map(places, value.values())) if value else set()
    if isinstance(value, list):
        return set().union(*map(places, value)) if value else set()
    return {value} if isinstance(value, str) and re.match(r"(https?:/)?/", value) else set()


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.timeout(3000)
def test_one_epoch_ends_with_a_registered_model_and_is_named_as_what_it_is(tmp_path: Path) -> None:
    home = tmp_path / "a folder whose name is longer than half of a narrow terminal" / "home"
    elsewhere = tmp_path / "production"
    printed = demo(home, CARSDEPO_LAKE=str(elsewhere))
    first = " ".join(printed.split())
    assert "FAST: one epoch" in first
    assert "first half" in first
    assert f"{FAST_IMAGES} rendered photographs" in first
    assert "first release" not in first
    assert f"--home '{home / 'fast'}'" in first
    assert not (home / "lake").exists()  # the whole loop's lake has nothing of it
    lake = Lake.open(str(home / "fast" / "lake"))
    assert lake.read("images").num_rows == FAST_IMAGES
    assert lake.read("deployments").num_rows == 0
    assert re.search(r"yolov8n: all \d+ planned steps", first), first

    # The lake that the environment names is left alone, and that is said before anything is done.
    assert not elsewhere.exists()
    assert f"CARSDEPO_LAKE names {elsewhere}" in printed.splitlines()[0]
    assert "CARSDEPO_LAKE= .venv/bin/carsdepo" in first

    # How far it is: rendering and training, each with its last line at the least.
    assert re.search(rf"rendering: {FAST_IMAGES} of {FAST_IMAGES} photographs, ", printed)
    assert re.search(r"training: (\d+) of \1 steps, ", printed), printed

    # Nothing raw; it is in the log, which is named.
    for line in printed.splitlines():
        assert not line.lstrip().startswith(("{", "[{", "Traceback")), line
        assert not re.search(r"dagster - |- (DEBUG|INFO|WARNING|ERROR) - |\bloss \d", line), line
    log = home / "fast" / "logs" / "demo.log"
    assert f"Logs:    {log.parent}" in printed
    assert re.search(r"\bloss \d", log.read_text())

    # No place is broken: all of the lineage's, and whatever else begins as the home does.
    said = subprocess.run(
        [TOOL, "lineage", "--model", "latest", "--json", "--home", str(home / "fast")],
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    wanted = places(json.loads(said))
    assert len(wanted) >= 4
    assert [place for place in wanted if not any(place in line for line in printed.splitlines())] == []
    assert printed.count(str(tmp_path)[: len(str(tmp_path)) // 2]) == printed.count(str(tmp_path))

    again = " ".join(demo(home).split())
    assert re.search(r"model [0-9a-f]{16} \(reused\)", again), again
    assert lake.read("images").num_rows == FAST_IMAGES
