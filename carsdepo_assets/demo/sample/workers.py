"""The threads or processes that render cars at the same time."""

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
    """Workers that, when the block fails, finish what they have begun and leave the rest. One is a thread.

    Rendering is many short NumPy calls, which hold the interpreter's lock between them: two processes, their start
    included, take 0.83 of the seconds of two threads for 200 photographs (`python -m benchmarks rendering`). Spawned,
    since a fork of a process with threads may stand still. Raises OSError when one of them was killed.
    """
    pool: Executor
    if processes and workers > 1:
        spawn = multiprocessing.get_context("spawn")
        pool = ProcessPoolExecutor(workers, mp_context=spawn, initializer=_begin_process)
        for _ in range(workers):  # they start while the caller still plans
            pool.submit(_ready)
    else:
        pool = ThreadPoolExecutor(max(1, workers))
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)  # OpenCV's own threads would fight with ours over the cores
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
    """A task that only starts its process."""


def _begin_process() -> None:
    """In a worker process: one thread, no trace of its own after Ctrl-C, and no life after its parent's."""
    cv2.setNumThreads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent is told, and ends the pool
    threading.Thread(target=_end_with_parent, name="end-with-parent", daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None  # this runs in a process that was spawned
    parent.join()
    os._exit(1)
