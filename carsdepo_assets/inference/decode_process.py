"""One process of `decode_worker.py` from the service's side: it is started, asked, and ended."""

from __future__ import annotations

import fcntl
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import carsdepo_assets
from carsdepo_assets.imaging.bad_image import BadImage
from carsdepo_assets.inference.decoding import ClientGone

LOOK_S = 0.1  # between looks whether the client is there
START_S = 60.0  # until it is ready
WALL_S = 60.0  # without a sign of life; its CPU time is limited long before, so it was stopped or the machine stands
_PIPE_BYTES = 2**20
# What a process ends with that a decoder's fault brought down. SIGKILL may be the system's, for want of memory.
_CRASHES = {-signal.SIGSEGV, -signal.SIGBUS, -signal.SIGABRT, -signal.SIGILL, -signal.SIGFPE}


class ProcessEnded(Exception):
    """The process ended, or gave no sign of life, while it was asked."""

    def __init__(self, code: int | None) -> None:
        super().__init__("no sign of life" if code is None else f"exit code {code}")
        self.is_too_slow = code == -signal.SIGPROF
        """it had used up its CPU time"""
        self.is_crash = code in _CRASHES
        """a fault in it ended it"""


def never() -> bool:
    """A client that stays."""
    return False


class DecodeProcess:
    """One process that decodes. It is asked by one thread at a time.

    Raises:
        OSError: It cannot be started.
        ProcessEnded: It ended before it was ready.
    """

    def __init__(self, settings: dict[str, Any]) -> None:
        root = Path(carsdepo_assets.__file__).parents[1]
        # Nothing of the service's environment: a file that takes the process over finds no key there.
        environment = {"PYTHONPATH": str(root), "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        self._popen = subprocess.Popen(
            [sys.executable, "-m", "carsdepo_assets.inference.decode_worker"],
            env=environment,
            cwd="/",
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            # Ctrl-C is the service's. Not a session of its own: Linux shares the cores among sessions.
            process_group=0,
        )
        assert self._popen.stdin is not None
        assert self._popen.stdout is not None
        self._in, self._out = self._popen.stdin, self._popen.stdout
        self._read, self._patience_s = b"", START_S
        for stream in (self._in, self._out):
            with suppress(OSError):  # the system allows less
                fcntl.fcntl(stream, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)  # a file passes at once
        os.set_blocking(self._in.fileno(), False)
        try:
            self._write(json.dumps(settings).encode() + b"\n", never)
            self._answer(never)
        except BaseException:
            self.close()
            raise
        self._patience_s = WALL_S

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._popen.pid

    def is_alive(self) -> bool:
        """Whether it runs."""
        return self._popen.poll() is None

    def ask(self, request: dict[str, Any], data: bytes, is_gone: Callable[[], bool]) -> tuple[dict[str, Any], bytes]:
        """Sends a request about a file, and returns head and pixels of the answer.

        Raises:
            BadImage: It refuses the file, and can be asked again.
            ClientGone: `is_gone` said so; it must be ended.
            ProcessEnded: It ended, or must be.
        """
        self._write(json.dumps({**request, "bytes": len(data)}).encode() + b"\n", is_gone)
        self._write(data, is_gone)
        return self._answer(is_gone)

    def end(self) -> None:
        """Ends it at once, also while another thread asks it, which is told by ProcessEnded."""
        self._popen.kill()
        self._popen.wait()

    def close(self) -> None:
        """Ends it and closes its streams; for the thread that has it."""
        self.end()
        self._in.close()
        self._out.close()

    def _write(self, data: bytes, is_gone: Callable[[], bool]) -> None:
        view = memoryview(data)
        try:
            while view:
                self._wait([], [self._in.fileno()], is_gone)
                view = view[self._in.write(view) or 0 :]
        except OSError as error:
            raise ProcessEnded(self._popen.wait()) from error

    def _answer(self, is_gone: Callable[[], bool]) -> tuple[dict[str, Any], bytes]:
        while b"\n" not in self._read:
            self._more(is_gone)
        line, _, self._read = self._read.partition(b"\n")
        head = json.loads(line)
        parts, size = [self._read], len(self._read)
        self._read = b""
        while size < head["bytes"]:
            self._more(is_gone, head["bytes"] - size)
            parts.append(self._read)
            size += len(self._read)
            self._read = b""
        if "reason" in head:
            raise BadImage(head["reason"], head["detail"])
        return head, b"".join(parts)

    def _more(self, is_gone: Callable[[], bool], most: int = 2**16) -> None:
        self._wait([self._out.fileno()], [], is_gone)
        data = os.read(self._out.fileno(), min(most, 2**20))
        if not data:
            raise ProcessEnded(self._popen.wait())
        self._read += data

    def _wait(self, readers: list[int], writers: list[int], is_gone: Callable[[], bool]) -> None:
        limit = time.monotonic() + self._patience_s
        while not any(select.select(readers, writers, [], LOOK_S)):
            if is_gone():
                raise ClientGone
            if time.monotonic() > limit:
                raise ProcessEnded(None)
