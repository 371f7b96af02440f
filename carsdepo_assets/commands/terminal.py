"""Keeps the terminal for a command's own lines; what Dagster, workers and libraries print goes to a log file."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from datetime import datetime
from pathlib import Path
from typing import TextIO

from rich.console import Console

from carsdepo_assets.settings import Settings


def log_of(settings: Settings, command: str) -> Path:
    """The log file for what Dagster and workers print during a command."""
    return settings.home / "logs" / f"{command}.log"


@contextmanager
def quietly(log: Path, console: Console) -> Iterator[None]:
    """Within the block only `console` writes on the terminal; everything else that is printed is appended to `log`.

    This includes what child processes and libraries write to the descriptors 1 and 2. An exception that leaves the
    block gets a note that names the log.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    sys.stdout.flush()
    sys.stderr.flush()
    with ExitStack() as undo:
        stream = undo.enter_context(log.open("a", encoding="utf-8", errors="replace", buffering=1))
        stream.write(f"== {' '.join(sys.argv)} ({datetime.now():%Y-%m-%d %H:%M:%S}, process {os.getpid()})\n")
        width = console.width  # asked of the descriptors, which will be the log's
        shown = _shown(undo)
        _point(1, stream, undo)
        _point(2, stream, undo)
        undo.enter_context(redirect_stdout(stream))
        undo.enter_context(redirect_stderr(stream))
        _let_write(console, shown, width, undo)
        try:
            yield
        except Exception as error:
            error.add_note(f"Log: {log}")
            raise


def _shown(undo: ExitStack) -> TextIO:
    """The terminal (or whatever stdout is) under another descriptor; stdout itself where it has none, as in tests."""
    present = sys.stdout
    try:
        copy = os.dup(present.fileno())
    except (OSError, ValueError, AttributeError):
        return present
    return undo.enter_context(open(copy, "w", encoding=present.encoding, errors="replace", buffering=1))


def _point(descriptor: int, stream: TextIO, undo: ExitStack) -> None:
    """Has the descriptor write to the stream's file until `undo`."""
    try:
        before = os.dup(descriptor)
    except OSError:  # closed: nothing can be written there
        return

    def back() -> None:
        os.dup2(before, descriptor)
        os.close(before)

    undo.callback(back)
    os.dup2(stream.fileno(), descriptor)


def _let_write(console: Console, shown: TextIO, width: int, undo: ExitStack) -> None:
    former, fixed = console._file, console._width
    console.file, console.width = shown, width

    def back() -> None:
        shown.flush()
        console._file, console._width = former, fixed

    undo.callback(back)
