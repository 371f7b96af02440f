"""Shows how far a long step is and how long it will take: a bar on a terminal, elsewhere a line every few seconds."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from rich.console import Console

LINE_EVERY_S = 10.0  # seconds between two lines where stdout is no terminal
Advance = Callable[[int, int], None]  # of how much is behind, of how much in all
Watch = Callable[[str, str], AbstractContextManager[Advance]]  # what is under way, and what is counted


@contextmanager
def unwatched(what: str, unit: str) -> Iterator[Advance]:
    """Shows nothing: for tests and benchmarks."""
    yield lambda behind, total: None


def watch_on(console: Console) -> Watch:
    """A `Watch` that shows progress on a console."""

    @contextmanager
    def watch(what: str, unit: str) -> Iterator[Advance]:
        with _bar(console, what, unit) if console.is_terminal else _lines(console, what, unit) as advance:
            yield advance

    return watch


@contextmanager
def _bar(console: Console, what: str, unit: str) -> Iterator[Advance]:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("         {task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(unit),
        TimeRemainingColumn(),
        TextColumn("left"),
    )
    # Nobody else writes on the terminal meanwhile (see terminal.quietly), and the log is not to hold bars.
    with Progress(*columns, console=console, transient=True, redirect_stdout=False, redirect_stderr=False) as bars:
        task = bars.add_task(what, total=None)
        yield lambda behind, total: bars.update(task, completed=behind, total=total)


@contextmanager
def _lines(console: Console, what: str, unit: str, clock: Callable[[], float] = time.monotonic) -> Iterator[Advance]:
    """A line every LINE_EVERY_S, and one for the end; none where nothing was ever counted."""
    started = last = clock()
    seen, first = (0, 0), 0

    def say(behind: int, total: int, more: str) -> None:
        text = f"{time.strftime('%H:%M:%S')} {what}: {behind} of {total} {unit}{more}"
        console.print(text, highlight=False, markup=False, soft_wrap=True)

    def advance(behind: int, total: int) -> None:
        nonlocal last, seen, first, started
        if not seen[1]:  # what an earlier attempt has behind it says nothing of the pace
            first, started = behind, clock()
        seen = (behind, total)
        now = clock()
        if now - last >= LINE_EVERY_S and behind < total:
            last = now
            pace = (behind - first) / max(now - started, 1e-9)
            say(behind, total, f", about {_duration((total - behind) / pace)} left" if pace > 0 else "")

    yield advance
    if seen[1]:
        say(*seen, f", {_duration(clock() - started)}")


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
