"""Ends a worker with its children when the process that started it is gone, so that a killed run leaves no trainer."""

from __future__ import annotations

import os
import sys
import threading
import time

import psutil

PARENT_VARIABLE = "CARSDEPO_PARENT_PID"
EXIT_CODE = 75  # EX_TEMPFAIL: nothing wrong with the work, it can go on from its checkpoint


def follow_parent(parent: int, poll_s: float = 0.5) -> threading.Thread:
    """Starts the thread that watches the parent and ends this process, with status EXIT_CODE, when it is gone.

    Args:
        parent: process id of the parent.
        poll_s: seconds between two looks; a parent that is gone already is seen at the first.
    """
    thread = threading.Thread(target=_watch, args=(parent, poll_s), name="follow-parent", daemon=True)
    thread.start()
    return thread


def _watch(parent: int, poll_s: float) -> None:
    while os.getppid() == parent:
        time.sleep(poll_s)
    for child in psutil.Process().children(recursive=True):
        _kill(child)
    try:
        print(f"process {parent}, which started this one, is gone: ending", file=sys.stderr, flush=True)
    finally:  # the parent's end of the pipe is closed, as a rule
        os._exit(EXIT_CODE)


def _kill(process: psutil.Process) -> None:
    try:
        process.kill()
    except psutil.NoSuchProcess:
        return
