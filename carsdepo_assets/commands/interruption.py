"""Ends a command on Ctrl-C with one line and exit code 130, whatever it was at and whatever became of the signal.

Python raises KeyboardInterrupt, Dagster an error of its own, or keeps the signal to itself until a run's step ends; a
child process that got it too may end the command by an error that does not speak of it. So the signals themselves are
noted, and what goes wrong after one is an interruption. Only the standard library is imported here: this module is
there before the others are imported, which takes seconds.
"""

from __future__ import annotations

import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

MESSAGE = "Interrupted: what is done stays; run it again to go on."
EXIT_CODE = 130  # 128 and the number of SIGINT, as shells have it
_ASKS_TO_END = bytes((signal.SIGINT, signal.SIGTERM))
_noted: list[socket.socket] = []  # what receives a byte of each signal, while a command runs
_seen = {"interrupt": False}


@contextmanager
def interruptible() -> Iterator[None]:
    """Ends the block on Ctrl-C with one line on stderr.

    Raises:
        SystemExit: With code 130, in place of whatever else left the block.
    """
    with _noting():
        try:
            yield
        except BaseException as error:
            if not _is_interruption(error):
                raise
        else:
            return
        before = _without_signals()
        try:
            begin = "\n" if sys.stderr.isatty() else ""  # a terminal shows ^C
            print(f"{begin}{MESSAGE}", file=sys.stderr, flush=True)
        finally:
            if before is not None:
                signal.signal(signal.SIGINT, before)
        raise SystemExit(EXIT_CODE)


def _without_signals() -> Any:
    """Has Ctrl-C do nothing, since impatience must not break the line off; gives the handler that was set."""
    try:
        return signal.signal(signal.SIGINT, signal.SIG_IGN)
    except ValueError:  # not the main thread
        return None


def was_interrupted() -> bool:
    """Whether a signal has asked this command to end since its `interruptible` began; False outside of one."""
    for receiver in _noted:
        with suppress(BlockingIOError):
            _seen["interrupt"] |= any(number in _ASKS_TO_END for number in receiver.recv(4096))
    return _seen["interrupt"]


@contextmanager
def _noting() -> Iterator[None]:
    """Has the interpreter write down each signal, beside whatever handler is set for it."""
    if _noted:  # an outer block does
        yield
        return
    receiver, sender = socket.socketpair()
    receiver.setblocking(False)
    sender.setblocking(False)
    try:
        try:
            before = signal.set_wakeup_fd(sender.fileno(), warn_on_full_buffer=False)
        except ValueError:  # not the main thread, which alone gets signals
            yield
            return
        _noted.append(receiver)
        try:
            yield
        finally:
            _noted.clear()
            _seen["interrupt"] = False
            signal.set_wakeup_fd(before)
    finally:
        receiver.close()
        sender.close()


def _is_interruption(error: BaseException) -> bool:
    if isinstance(error, KeyboardInterrupt) or type(error).__name__ == "DagsterExecutionInterruptedError":
        return True
    # An end that a command has decided on (Typer's Exit, a wrong call) is what it says.
    is_decided = type(error).__module__.split(".")[0] in ("click", "typer") and type(error).__name__ != "Abort"
    return isinstance(error, Exception) and not is_decided and was_interrupted()
