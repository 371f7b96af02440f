"""commands/progress.py: a line now and then where stdout is no terminal, a bar where it is one."""

from __future__ import annotations

import io
import re
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from rich.console import Console

from carsdepo_assets.commands import progress, training_bar
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.lake.training_progress import TrainingProgress, write_progress


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def lines(seconds_a_photograph: float, total: int, start: int = 0) -> list[str]:
    """What a work of `total` photographs says that finds `start` of them behind it."""
    out, clock = io.StringIO(), Clock()
    with progress._lines(Console(file=out, width=40), "rendering", "photographs", clock) as advance:
        advance(start, total)
        for behind in range(start + 1, total + 1):
            clock.now += seconds_a_photograph
            advance(behind, total)
    return [re.sub(r"^\d\d:\d\d:\d\d ", "", line) for line in out.getvalue().splitlines()]


def test_a_line_every_ten_seconds_with_the_time_left_and_one_at_the_end() -> None:
    assert lines(1.0, 30) == [
        "rendering: 10 of 30 photographs, about 20 s left",
        "rendering: 20 of 30 photographs, about 10 s left",
        "rendering: 30 of 30 photographs, 30 s",
    ]


def test_a_quick_work_has_its_last_line_and_a_slow_one_no_more_than_it_needs() -> None:
    assert lines(0.01, 30) == ["rendering: 30 of 30 photographs, 0 s"]
    assert lines(25.0, 3)[0] == "rendering: 1 of 3 photographs, about 50 s left"
    assert lines(40.0, 4)[0] == "rendering: 1 of 4 photographs, about 2 min 0 s left"


def test_what_stood_before_says_nothing_of_the_pace() -> None:
    assert lines(10.0, 103, start=100)[0] == "rendering: 101 of 103 photographs, about 20 s left"


def test_nothing_is_said_of_a_work_that_never_was() -> None:
    out = io.StringIO()
    with progress.watch_on(Console(file=out))("training", "steps"):
        pass
    assert out.getvalue() == ""


def test_a_terminal_gets_a_bar_that_is_gone_afterwards() -> None:
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=100)
    with progress.watch_on(console)("rendering", "photographs") as advance:
        advance(30, 120)
    assert "30/120" in out.getvalue()
    assert "left" in out.getvalue()


def test_a_training_is_followed_by_what_its_worker_tells(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not by what an earlier one has told."""
    monkeypatch.setattr(training_bar, "LOOK_EVERY_S", 0.01)
    lake, told, came = Lake.open(str(tmp_path)), [], threading.Event()

    def tell(steps: int, started: datetime) -> None:
        write_progress(
            lake,
            TrainingProgress(
                detector="yolov8n",
                dataset="d",
                recipe="r",
                steps=steps,
                planned_steps=90,
                started_at=started,
                updated_at=started,
            ),
        )

    class Watched:
        def __init__(self, what: str, unit: str) -> None:
            assert (what, unit) == ("training", "steps")

        def __enter__(self) -> progress.Advance:
            def advance(behind: int, total: int) -> None:
                told.append((behind, total))
                came.set()

            return advance

        def __exit__(self, *_: object) -> None:
            return

    tell(80, datetime.now(UTC) - timedelta(hours=1))
    with training_bar.training_bar(lake, Watched):
        tell(40, datetime.now(UTC))
        assert came.wait(30)
        tell(90, datetime.now(UTC))
    assert told[0] == (40, 90)
    assert told[-1] == (90, 90)
