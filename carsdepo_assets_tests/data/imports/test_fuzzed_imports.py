"""data/imports/importing.py: mutated folders come in, are refused, or are counted; no labels are lost or become
others."""

from __future__ import annotations

from pathlib import Path

import pytest

from carsdepo_assets_tests.data.fuzzing.trial import run

# 300 folders; `make soak` imports 5,000, with tables as they are. Few in a lake, as files with many tests start first.
IN_ONE_LAKE = 5
LAKES = 60


@pytest.mark.parametrize("first", range(0, IN_ONE_LAKE * LAKES, IN_ONE_LAKE))
def test_a_mutated_folder_loses_nothing_in_silence(first: int, tmp_path: Path) -> None:
    trials = run(range(first, first + IN_ONE_LAKE), tmp_path, tables_in_memory=True)
    assert [str(trial) for trial in trials if trial.faults] == []
    assert sum(1 for trial in trials if trial.account is not None) > IN_ONE_LAKE // 2
