"""Ends a process with all that it started, by id."""

from __future__ import annotations

import os
import signal

import psutil


def end_tree(pid: int, grace_s: float) -> int:
    """SIGTERM to the process and its descendants, SIGKILL after grace_s seconds. Returns how many were there.

    A process that is gone already counts as ended. Children that appear while ending are looked for once more.
    """
    seen: set[int] = set()
    for grace in (grace_s, 1.0):
        family = [p for p in _family(pid) if p.pid not in seen or p.is_running()]
        seen |= {p.pid for p in family}
        for process in family:
            _signal(process, kill=False)
        _, alive = psutil.wait_procs(family, timeout=grace)
        for process in alive:
            _signal(process, kill=True)
        psutil.wait_procs(alive, timeout=5)
    return len(seen)


def end_group(group: int) -> None:
    """SIGKILL to what is left of a process group (a worker that crashed leaves its children); none is no error."""
    try:
        os.killpg(group, signal.SIGKILL)
    except ProcessLookupError:
        return


def same_process(pid: int, seen_at: float, slack_s: float = 2.0) -> bool:
    """Whether the process that had this id at `seen_at` (Unix seconds) still runs: an id is given out again later."""
    try:
        process = psutil.Process(pid)
        return process.create_time() <= seen_at + slack_s and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _family(pid: int) -> list[psutil.Process]:
    try:
        root = psutil.Process(pid)
        return [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _signal(process: psutil.Process, *, kill: bool) -> None:
    try:
        process.kill() if kill else process.terminate()
    except psutil.NoSuchProcess:
        return
