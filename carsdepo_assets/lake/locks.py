"""One writer at a time, where a decision reads and then writes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from filelock import FileLock

from carsdepo_assets.lake.lake import Lake


@contextmanager
def one_writer(lake: Lake, name: str) -> Iterator[None]:
    """Decisions that read and then write, one process at a time. The lock dies with its process.

    Only a folder can be locked; on S3 the caller's own queue must keep these apart (a Dagster pool), and what slips
    through is found again: a photograph in two batches is a duplicate in the later one.
    """
    if lake.root is None:
        yield
        return
    folder = lake.root / ".locks"
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / f"{name}.lock"):
        yield
