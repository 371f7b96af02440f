"""`carsdepo demo --fast` as a newcomer runs it: the first half, labelled as such, in a lake of its own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from carsdepo_assets.commands.demo import FAST_IMAGES
from carsdepo_assets.lake.lake import Lake


def demo(home: Path) -> str:
    """What it printed, on one line."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("CARSDEPO_", "DAGSTER_"))}
    done = subprocess.run(
        [str(Path(sys.executable).with_name("carsdepo")), "demo", "--fast", "--home", str(home)],
        env=environment | {"COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return " ".join(done.stdout.split())


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_one_epoch_ends_with_a_registered_model_and_is_named_as_what_it_is(tmp_path: Path) -> None:
    home = tmp_path / "home"
    first = demo(home)
    assert "FAST: one epoch" in first
    assert "first half" in first
    assert f"{FAST_IMAGES} rendered photographs" in first
    assert "first release" not in first
    assert f"--home {home / 'fast'}" in first
    assert not (home / "lake").exists()  # the whole loop's lake has nothing of it
    lake = Lake.open(str(home / "fast" / "lake"))
    assert lake.read("images").num_rows == FAST_IMAGES
    assert lake.read("deployments").num_rows == 0
    assert re.search(r"model [0-9a-f]{16}, 1 epochs", first), first
    again = demo(home)
    assert re.search(r"model [0-9a-f]{16} \(reused\)", again), again
    assert lake.read("images").num_rows == FAST_IMAGES
