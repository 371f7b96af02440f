"""carsdepo_assets_tests/conftest.py: a run in which a pytest process dies says what ended it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "of gw0 was ended by SIGKILL"),
        ("import os; os._exit(75)", "of gw0 was ended by exit code 75"),
    ],
)
def test_what_ended_a_process_is_said(code: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "test_ends.py").write_text(f"def test_ends():\n    {code}\n")
    options = ["-p", "carsdepo_assets_tests.conftest", "-p", "no:cacheprovider", "-n1", "--max-worker-restart=0"]
    run = subprocess.run(
        [sys.executable, "-m", "pytest", *options, "--rootdir", str(tmp_path), str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert said in run.stdout, run.stdout + run.stderr
