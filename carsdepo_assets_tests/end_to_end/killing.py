"""Ends a server with all that it started, as a person does (Ctrl-C) and as a crash of the machine does."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil

from carsdepo_assets.settings import Settings
from carsdepo_assets_tests.end_to_end.dagster_server import ROOT


def tree(pid: int) -> list[psutil.Process]:
    """The process and all that it started, trainers included (they are in sessions of their own)."""
    root = psutil.Process(pid)
    return [root, *root.children(recursive=True)]


def lives(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def kill_everything(pid: int) -> list[psutil.Process]:
    """SIGKILL of every process of a tree; stopped first, so that none does anything about the end of another."""
    members = tree(pid)
    for number in (signal.SIGSTOP, signal.SIGKILL):
        for process in members:
            if lives(process):
                os.kill(process.pid, number)
    psutil.wait_procs(members, timeout=30)
    return members


class CarsdepoDev:
    """A real `carsdepo dev`; what it shows on its terminal is in `terminal`."""

    def __init__(self, settings: Settings, terminal: Path) -> None:
        self.terminal = terminal
        with terminal.open("wb") as out:
            self.process = subprocess.Popen(
                [str(Path(sys.executable).with_name("carsdepo")), "dev"],
                cwd=ROOT,
                env={**os.environ, **settings.variables()},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def interrupt(self, times: int = 1) -> tuple[int, list[psutil.Process]]:
        """(exit code, processes that are left) after so many Ctrl-C."""
        members = tree(self.process.pid)
        for _ in range(times):
            os.kill(self.process.pid, signal.SIGINT)
        code = self.process.wait(timeout=120)
        psutil.wait_procs(members, timeout=5)
        return code, [p for p in members if lives(p)]

    def shown(self) -> str:
        return self.terminal.read_text(errors="replace")

    def end(self) -> None:
        if self.process.poll() is None:
            kill_everything(self.process.pid)
            self.process.wait()
