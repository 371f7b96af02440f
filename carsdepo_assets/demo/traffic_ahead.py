"""Writes the demo's windows of traffic in a background thread, each before the demo needs it.

Most steps between the trainings keep one core busy, so rendering can use another one meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager

from carsdepo_assets.commands.progress import Advance
from carsdepo_assets.demo.traffic_windows import Traffic

LOOK_EVERY_S = 0.5  # seconds between two updates of the progress of the window that the demo waits for


class _Ended(Exception):
    """Stops the writing of a window, since the demo has ended."""


class TrafficAhead:
    """The windows of traffic, which a thread writes one after another."""

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
        """Waits until a window is complete.

        Args:
            name: Of the window.
            advance: Called with the photographs written so far, and all of them.

        Returns:
            Whether the photographs were written by this demo; False where they were all there.

        Raises:
            Exception: What the writing raised, such as OSError for a full disk.
        """
        written = self._written[name]
        while not wait([written], LOOK_EVERY_S).done:
            if name in self._progress:
                advance(*self._progress[name])
        return written.result()

    def end(self) -> None:
        """Stops the window that is being written at its next photograph, and drops those not begun."""
        self._ended = True
        for written in self._written.values():
            written.cancel()


@contextmanager
def written_ahead(windows: Sequence[Traffic]) -> Iterator[TrafficAhead]:
    """Writes the windows while the block runs; when the block ends, with an error or not, writing stops."""
    with ThreadPoolExecutor(1, thread_name_prefix="traffic") as thread:
        ahead = TrafficAhead(windows, thread)
        try:
            yield ahead
        finally:
            ahead.end()
