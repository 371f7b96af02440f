"""A lock for decisions that read the lake and then write to it: one process at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from filelock import FileLock, Timeout

from carsdepo_assets.lake.lake import Lake


@contextmanager
def one_writer(lake: Lake, name: str, waiting: Callable[[], None] | None = None) -> Iterator[None]:
    """Holds the lake's lock of this name while the `with` block runs, waiting for it first.

    The lock ends with its process, however that ends. Only a folder can be locked. On S3 nothing is locked: there the
    caller must run such decisions one after another (a Dagster pool does), and what two of them do at once must be
    recognised later, as a photograph that came into two batches is a duplicate in the second.

    Args:
        lake: the lake that is read and written.
        name: the lock; decisions about different things take different names.
        waiting: called where another process has the lock, before it is waited for; None: nobody is told.
    """
    if lake.root is None:
        yield
        return
    folder = lake.root / ".locks"
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / f"{name}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        if waiting is not None:
            waiting()
        lock.acquire()
    try:
        yield
    finally:
        lock.release()
