"""Shows the steps of a running training on the terminal, as its worker writes them to the lake."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from carsdepo_assets.commands.progress import Advance, Watch
from carsdepo_assets.lake.lake import Lake, LakeError
from carsdepo_assets.lake.training_progress import read_progress

LOOK_EVERY_S = 1.0


@contextmanager
def training_bar(lake: Lake, watch: Watch) -> Iterator[None]:
    """Shows the progress of a training that begins within the block; shows nothing where none begins."""
    since, over = datetime.now(UTC), threading.Event()

    def follow(advance: Advance) -> None:
        while not over.wait(LOOK_EVERY_S):
            _look(lake, since, advance)
        _look(lake, since, advance)

    with watch("training", "steps") as advance:
        thread = threading.Thread(target=follow, args=(advance,), name="training-bar", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()


def _look(lake: Lake, since: datetime, advance: Advance) -> None:
    try:
        progress = read_progress(lake, since)
    except (LakeError, OSError):  # the training goes on where its progress cannot be read
        return
    if progress is not None and progress.planned_steps:
        advance(progress.steps, progress.planned_steps)
