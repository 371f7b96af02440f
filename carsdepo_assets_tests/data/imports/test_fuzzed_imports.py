"""data/imports/importing.py: mutated folders come in, are refused, or are counted; no labels are lost or become
others."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from carsdepo_assets_tests.data.fuzzing.trial import run

# 300 folders; `make soak` imports 5,000, with tables as they are. Few in a lake, as files with many tests start first.
IN_ONE_LAKE = 5
LAKES = 60
AMONG_THE_FAST = 4  # one lake of so many


@pytest.mark.parametrize(
    "first",
    [
        pytest.param(number * IN_ONE_LAKE, marks=[pytest.mark.slow] if number % AMONG_THE_FAST else [])
        for number in range(LAKES)
    ],
)
def test_a_mutated_folder_loses_nothing_in_silence(first: int, tmp_path: Path) -> None:
    trials = run(range(first, first + IN_ONE_LAKE), tmp_path, tables_in_memory=True)
    assert [str(trial) for trial in trials if trial.faults] == []
    assert sum(1 for trial in trials if trial.account is not None) > IN_ONE_LAKE // 2


@pytest.mark.slow
def test_the_command_imports_in_processes_of_its_own_and_counts() -> None:
    command = [sys.executable, "-m", "carsdepo_assets_tests.data.fuzzing", "--imports", "12", "--first", "840"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=240, cwd=Path(__file__).parents[3])
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "12 imports of mutated folders" in ended.stdout
