"""Threads in which several trials wait for their jobs, and which an interruption of the run reaches.

Dagster interrupts the thread that runs the step. A compute target ends its job when the interruption is raised where it
waits for that job, so the interruption is raised in every thread that does.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import copy_context
from typing import Any

Submit = Callable[..., "Future[Any]"]


class TrialEnded(KeyboardInterrupt):
    """Raised in a thread that waits for a trial's job, so that the compute target ends the job."""


@contextmanager
def interruptible_threads(slots: int) -> Iterator[Submit]:
    """A function that runs another one in one of some threads and returns its future.

    An exception that leaves the block is raised in the threads at work, too, which are waited for.
    """
    working: set[int] = set()
    lock = threading.Lock()

    def noted(function: Callable[..., Any], *arguments: Any) -> Any:
        with lock:
            working.add(threading.get_ident())
        try:
            return function(*arguments)
        finally:
            with lock:
                working.discard(threading.get_ident())

    with ThreadPoolExecutor(slots, thread_name_prefix="trial") as pool:

        def submit(function: Callable[..., Any], *arguments: Any) -> Future[Any]:
            return pool.submit(copy_context().run, noted, function, *arguments)

        try:
            yield submit
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            with lock:
                for thread in working:
                    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(TrialEnded))
            raise
