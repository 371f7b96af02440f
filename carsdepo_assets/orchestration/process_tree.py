"""Ends a process together with all that it started."""

from __future__ import annotations

import os
import signal

import psutil


def end_tree(pid: int, grace_s: float) -> int:
    """Ends a process and its descendants: SIGTERM first, SIGKILL to those that are left.

    A process that is gone already counts as ended. Children that appear meanwhile are looked for once more.

    Args:
        pid: id of the process.
        grace_s: seconds between the two signals.

    Returns:
        How many processes there were.
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
    """Sends SIGKILL to what is left of a process group, such as the children of a crashed worker."""
    try:
        os.killpg(group, signal.SIGKILL)
    except ProcessLookupError:
        return


def same_process(pid: int, seen_at: float, slack_s: float = 2.0) -> bool:
    """Whether the process that had an id at some time still runs; ids are given out again later.

    Args:
        pid: the id.
        seen_at: when the process had it, in Unix seconds.
        slack_s: seconds by which the clocks of the two times may differ.
    """
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
