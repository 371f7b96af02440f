"""carsdepo_assets_tests/conftest.py: what ended a pytest process is said; in the background a run is as any other."""

from __future__ import annotations

import signal
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


@pytest.mark.slow
@pytest.mark.parametrize("processes", [[], ["-n1"]])
def test_processes_of_a_run_in_the_background_can_be_interrupted(processes: list[str], tmp_path: Path) -> None:
    (tmp_path / "test_signal.py").write_text(
        "import signal, subprocess, sys\n"
        "def test_signal():\n"
        "    code = 'import signal; print(signal.getsignal(signal.SIGINT) is signal.default_int_handler)'\n"
        "    assert subprocess.check_output([sys.executable, '-c', code]) == b'True\\n'\n"
    )
    options = ["-p", "carsdepo_assets_tests.conftest", "-p", "no:cacheprovider", *processes]
    run = subprocess.run(
        [sys.executable, "-m", "pytest", *options, "--rootdir", str(tmp_path), str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=120,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),
    )
    assert run.returncode == 0, run.stdout + run.stderr
