"""The demo's windows of traffic are written by a thread beside the loop, each before it is needed.

Most steps between the trainings keep one core busy: rendering takes the other one meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager

from carsdepo_assets.commands.progress import Advance
from carsdepo_assets.demo.traffic import Traffic

LOOK_EVERY_S = 0.5  # seconds between two looks at how far a window is that somebody waits for


class _Ended(Exception):
    """The loop has ended: nobody needs the window that is being written."""


class TrafficAhead:
    """Windows that are being written, in their order."""

    def __init__(self, windows: Sequence[Traffic], thread: ThreadPoolExecutor) -> None:
        self._ended = False
        self._progress: dict[str, tuple[int, int]] = {}
        self._written: dict[str, Future[bool]] = {w.name: thread.submit(self._write, w) for w in windows}

    def _write(self, window: Traffic) -> bool:
        def advance(behind: int, total: int) -> None:
            if self._ended:
                raise _Ended
            self._progress[window.name] = (behind, total)

        return window.write(advance)

    def await_window(self, name: str, advance: Advance) -> bool:
        """Returns when the window is whole: True when this loop wrote it, False for one that stood already.

        advance is told how far it is. Raises what the writing raised, such as OSError for a full disk.
        """
        written = self._written[name]
        while not wait([written], LOOK_EVERY_S).done:
            if name in self._progress:
                advance(*self._progress[name])
        return written.result()

    def end(self) -> None:
        """Windows that are not begun are left, and the one that is being written stops at its next photograph."""
        self._ended = True
        for written in self._written.values():
            written.cancel()


@contextmanager
def written_ahead(windows: Sequence[Traffic]) -> Iterator[TrafficAhead]:
    """Begins to write the windows; at the end of the block nothing is written any more, however it ended."""
    with ThreadPoolExecutor(1, thread_name_prefix="traffic") as thread:
        ahead = TrafficAhead(windows, thread)
        try:
            yield ahead
        finally:
            ahead.end()
