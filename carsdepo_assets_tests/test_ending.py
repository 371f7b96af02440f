"""commands/services.py: ending several servers; all are asked at once, and those that do not end are killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from carsdepo_assets.commands.services import end_all

OBEDIENT = "import signal, time; signal.signal(signal.SIGINT, lambda *_: exit(0)); open({0!r}, 'w'); time.sleep(600)"
# Ignores the signal, and so does its child, which is in a session of its own as a training's worker is.
STUBBORN = (
    "import signal, subprocess, sys, time; signal.signal(signal.SIGINT, signal.SIG_IGN); "
    "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'], start_new_session=True); "
    "open({0!r}, 'w'); time.sleep(600)"
)


def start(tmp_path: Path, *scripts: str) -> list[subprocess.Popen[bytes]]:
    files = [tmp_path / str(number) for number in range(len(scripts))]
    started = [
        subprocess.Popen([sys.executable, "-c", script.format(str(file))], start_new_session=True)
        for script, file in zip(scripts, files, strict=True)
    ]
    while not all(file.exists() for file in files):
        assert all(process.poll() is None for process in started)
        time.sleep(0.02)
    return started


def test_what_obeys_is_not_killed(tmp_path: Path) -> None:
    processes = start(tmp_path, OBEDIENT, OBEDIENT)
    assert end_all(processes, signal.SIGINT, 60) == 0
    assert [p.returncode for p in processes] == [0, 0]


@pytest.mark.slow
@pytest.mark.parametrize(("grace_s", "hurried"), [(0.5, False), (600, True)])
def test_what_does_not_end_is_killed_with_its_children(tmp_path: Path, grace_s: float, hurried: bool) -> None:
    processes = start(tmp_path, STUBBORN, OBEDIENT)
    [child] = psutil.Process(processes[0].pid).children()
    looks = iter(range(1000))
    # The obedient one has its time before the hurry begins.
    assert end_all(processes, signal.SIGINT, grace_s, hurry=lambda: hurried and next(looks) > 20) >= 2
    assert processes[0].returncode == -signal.SIGKILL
    assert processes[1].returncode in (0, -signal.SIGKILL)
    assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE


def test_what_has_ended_already_is_no_error(tmp_path: Path) -> None:
    processes = start(tmp_path, OBEDIENT)
    os.kill(processes[0].pid, signal.SIGKILL)
    processes[0].wait()
    assert end_all(processes, signal.SIGINT, 1) == 0
