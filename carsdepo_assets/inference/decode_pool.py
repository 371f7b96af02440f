"""Has photographs decoded in processes with limits, so that a hostile file costs its sender and nobody else.

Each process decodes one photograph at a time. One that takes too much CPU time or memory, or crashes, is replaced, and
its photograph is refused. Large photographs are decoded one at a time, so that the others always find a process and the
service's memory stays bounded.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import queue
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

import carsdepo_assets
from carsdepo_assets.imaging.bad_image import BadImage
from carsdepo_assets.imaging.resize import Letterboxed, NetworkInput
from carsdepo_assets.inference.decoding import ClientGone, Measured
from carsdepo_assets.policy import Policy

logger = logging.getLogger(__name__)

CPU_S = 10.0  # of one photograph; 50 megapixels take 2 to 4 s
BYTES_A_PIXEL = 6  # of the most pixels that a photograph may have: what decoding may need
LARGE = 16_000_000  # pixels; larger ones are decoded one at a time
WAITING = 3  # large ones that wait; further ones are refused
_PIPE_BYTES = 2**20
_LOOK_S = 0.1  # between looks whether the client is there
_AGAIN_S = 1.0  # before a process that cannot start is tried again


class TooManyLarge(Exception):
    """Too many large photographs wait to be decoded: try again."""


class _Ended(Exception):
    """The process ended while it was asked; `code` is its exit code."""

    def __init__(self, code: int) -> None:
        super().__init__(f"exit code {code}")
        self.code = code


class DecodePool:
    """Processes that decode. Several threads may call `measure`; `close` ends the processes.

    Args:
        policy: The limits; it is handed to the processes.
        processes: How many photographs are decoded at a time.
    """

    def __init__(self, policy: Policy, processes: int) -> None:
        self._settings = {
            "policy": policy.model_dump(mode="json"),
            "cpu_s": CPU_S,
            "memory": BYTES_A_PIXEL * policy.inference.max_pixels,
        }
        self._processes = max(2, processes)  # one for a large photograph, one for the others
        self._idle: queue.LifoQueue[_Process] = queue.LifoQueue()
        self._all: set[_Process] = set()
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._large, self._queued = threading.Lock(), 0

    def start(self) -> None:
        """Starts the processes; returns once they are ready."""
        starting = [threading.Thread(target=self._add) for _ in range(self._processes)]
        for thread in starting:
            thread.start()
        for thread in starting:
            thread.join()

    def close(self) -> None:
        """Ends the processes."""
        self._ended.set()
        with self._lock:
            for process in self._all:
                process.kill()
            self._all.clear()

    def measure(
        self, data: bytes, network: NetworkInput | None, is_gone: Callable[[], bool] = lambda: False
    ) -> Measured:
        """Decodes, letterboxes and measures a photograph in one of the processes; see `decoding.measure`.

        Args:
            data: The file's bytes.
            network: What the model's network takes; None: the whole photograph is given back.
            is_gone: Whether its sender has left; then its process is ended.

        Raises:
            BadImage: It cannot be used, or decoding it takes too much.
            TooManyLarge: It is large, and others wait already.
            ClientGone: Its sender has left.
        """
        measured = self._attempt(data, network, is_gone, is_alone=False)
        if measured is not None:
            return measured
        with self._alone(is_gone):
            measured = self._attempt(data, network, is_gone, is_alone=True)
        assert measured is not None
        return measured

    def _attempt(
        self, data: bytes, network: NetworkInput | None, is_gone: Callable[[], bool], is_alone: bool
    ) -> Measured | None:
        """None where the photograph is large and must wait for its turn."""
        process, is_whole = self._idle.get(), False
        try:
            process.send({"network": network and asdict(network), "large": None if is_alone else LARGE}, data)
            head, body = process.answer(is_gone)
            is_whole = True
        except BadImage:
            is_whole = True
            raise
        except _Ended as error:
            why = "more time" if error.code == -signal.SIGPROF else "more than it may"
            logger.warning("A decoding process ended with exit code %d.", error.code)
            raise BadImage("too_costly", f"decoding it takes {why}: its process was ended") from error
        finally:
            if is_whole:
                self._idle.put(process)
            else:
                self._replace(process)
        return None if head.get("is_large") else _measured(head, body)

    @contextmanager
    def _alone(self, is_gone: Callable[[], bool]) -> Iterator[None]:
        with self._lock:
            if self._queued > WAITING:  # one of them is being decoded
                raise TooManyLarge
            self._queued += 1
        try:
            while not self._large.acquire(timeout=_LOOK_S):
                if is_gone():
                    raise ClientGone
            try:
                yield
            finally:
                self._large.release()
        finally:
            with self._lock:
                self._queued -= 1

    def _replace(self, process: _Process) -> None:
        process.kill()
        with self._lock:
            self._all.discard(process)
        threading.Thread(target=self._add, name="decode-pool", daemon=True).start()

    def _add(self) -> None:
        while not self._ended.is_set():
            try:
                process = _Process(self._settings)
            except (OSError, _Ended) as error:
                logger.error("A decoding process cannot be started (%s); it is tried again.", error)
                self._ended.wait(_AGAIN_S)
                continue
            with self._lock:
                if self._ended.is_set():
                    process.kill()
                    return
                self._all.add(process)
            self._idle.put(process)
            return


class _Process:
    """One process of decode_worker.py."""

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
            start_new_session=True,  # Ctrl-C is the service's
        )
        self._read = b""
        for stream in (self._popen.stdin, self._popen.stdout):
            assert stream is not None
            with suppress(OSError):  # the system allows less
                fcntl.fcntl(stream, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)  # a file passes at once
        try:
            self.send_line(json.dumps(settings).encode() + b"\n")
            self.answer(lambda: False)
        except _Ended:
            self.kill()
            raise

    def send(self, head: dict[str, Any], data: bytes) -> None:
        """Sends a request about a file."""
        self.send_line(json.dumps({**head, "bytes": len(data)}).encode() + b"\n")
        self.send_line(data)

    def send_line(self, data: bytes) -> None:
        """Writes all of the bytes. Raises _Ended."""
        assert self._popen.stdin is not None
        view = memoryview(data)
        try:
            while view:
                view = view[self._popen.stdin.write(view) :]
        except OSError as error:
            raise _Ended(self._popen.wait()) from error

    def answer(self, is_gone: Callable[[], bool]) -> tuple[dict[str, Any], bytes]:
        """(Head, pixels) of the next answer. Raises BadImage, ClientGone, _Ended."""
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

    def kill(self) -> None:
        """Ends it at once."""
        self._popen.kill()
        self._popen.wait()
        for stream in (self._popen.stdin, self._popen.stdout):
            assert stream is not None
            stream.close()

    def _more(self, is_gone: Callable[[], bool], most: int = 2**16) -> None:
        assert self._popen.stdout is not None
        descriptor = self._popen.stdout.fileno()
        while not select.select([descriptor], [], [], _LOOK_S)[0]:
            if is_gone():
                raise ClientGone
        data = os.read(descriptor, min(most, 2**20))
        if not data:
            raise _Ended(self._popen.wait())
        self._read += data


def _measured(head: dict[str, Any], body: bytes) -> Measured:
    pixels = np.frombuffer(body, np.uint8).reshape(head["shape"])
    image: Any = pixels
    if "scale" in head:
        dx, dy = head["offset"]
        image = Letterboxed(pixels, head["scale"], (dx, dy), head["width"], head["height"])
    return Measured(head["width"], head["height"], head["format"], head["camera"], head["features"], image)
