"""The threads or processes that render several cars at the same time."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager

import cv2


@contextmanager
def pool_of(workers: int, *, processes: bool) -> Iterator[Executor]:
    """A pool of workers for the block; where the block fails, they finish the tasks they have begun and drop the rest.

    Rendering is many short NumPy calls, between which a thread holds the interpreter's lock: two processes, their start
    included, take 0.83 times as long as two threads for 200 photographs (`python -m benchmarks rendering`). They are
    spawned, since the fork of a process that has threads may deadlock.

    Args:
        workers: How many.
        processes: Whether they are processes; a single worker is always a thread.

    Raises:
        OSError: Where a worker process was killed.
    """
    pool: Executor
    if processes and workers > 1:
        spawn = multiprocessing.get_context("spawn")
        pool = ProcessPoolExecutor(workers, mp_context=spawn, initializer=_begin_process)
        for _ in range(workers):  # so that they start while the caller still plans
            pool.submit(_ready)
    else:
        pool = ThreadPoolExecutor(max(1, workers))
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)  # OpenCV's own threads would compete with the workers for the cores
    try:
        yield pool
    except BrokenProcessPool as error:
        raise OSError(
            "A process that rendered photographs was killed, as a machine short of memory does. "
            "Run the same command again: it renders these photographs anew."
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)
        cv2.setNumThreads(before)


def _ready() -> None:
    """A task that does nothing: it makes the pool start a process."""


def _begin_process() -> None:
    """Sets a worker process up: one OpenCV thread, no traceback after Ctrl-C, and an end when its parent ends."""
    cv2.setNumThreads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent gets the signal too, and ends the pool
    threading.Thread(target=_end_with_parent, name="end-with-parent", daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None  # this runs in a process that was spawned
    parent.join()
    os._exit(1)
