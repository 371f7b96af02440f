"""demo/traffic_ahead.py: windows are written beside the loop, in order, and nothing is written after it."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from carsdepo_assets.commands.progress import Advance
from carsdepo_assets.demo.traffic_ahead import written_ahead
from carsdepo_assets.demo.traffic_windows import Traffic

FAR_S = 60.0  # no test waits so long


def test_a_window_is_waited_for_with_its_progress() -> None:
    going_on, seen = threading.Event(), []

    def write(advance: Advance) -> bool:
        advance(3, 10)
        assert going_on.wait(FAR_S)
        advance(10, 10)
        return True

    def advance(behind: int, total: int) -> None:
        seen.append((behind, total))
        going_on.set()

    stands = Traffic("stands", "", Path(), lambda advance: False)
    with written_ahead([Traffic("usual", "", Path(), write), stands]) as ahead:
        assert ahead.await_window("usual", advance)
        assert not ahead.await_window("stands", advance)
    assert seen[0] == (3, 10)


def test_what_the_writing_raised_comes_to_whoever_waits() -> None:
    def full(advance: Advance) -> bool:
        raise OSError(28, "No space left on device")

    with written_ahead([Traffic("usual", "", Path(), full)]) as ahead, pytest.raises(OSError, match="No space left"):
        ahead.await_window("usual", lambda behind, total: None)


def test_a_loop_that_fails_leaves_no_writer_behind() -> None:
    """The window under way stops at its next photograph; the one after it is not begun."""
    begun, ending, written = threading.Event(), threading.Event(), []

    def endless(advance: Advance) -> bool:
        while True:
            advance(1, 2)
            begun.set()
            assert ending.wait(FAR_S)

    def after(advance: Advance) -> bool:
        written.append("after")
        return True

    windows = [Traffic("usual", "", Path(), endless), Traffic("evening", "", Path(), after)]
    with pytest.raises(RuntimeError, match="the gate refused"), written_ahead(windows):  # noqa: PT012
        assert begun.wait(FAR_S)
        ending.set()
        raise RuntimeError("the gate refused")
    assert not written
    assert not [t for t in threading.enumerate() if t.name.startswith("traffic")]
