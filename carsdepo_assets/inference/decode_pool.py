"""Has photographs decoded in processes with limits, so that a hostile file costs its sender and nobody else.

Each process decodes one photograph at a time. One that takes too much CPU time or memory, or crashes, is replaced, and
its photograph is refused. Large photographs are decoded one at a time, so that the others always find a process and the
service's memory stays bounded.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import asdict
from typing import Any

import numpy as np

from carsdepo_assets.imaging.bad_image import BadImage
from carsdepo_assets.imaging.resize import Letterboxed, NetworkInput
from carsdepo_assets.inference.decode_process import LOOK_S, DecodeProcess, ProcessEnded, never
from carsdepo_assets.inference.decoding import ClientGone, Measured
from carsdepo_assets.policy import Policy

logger = logging.getLogger(__name__)

CPU_S = 10.0  # of one photograph; 50 megapixels take 2 to 4 s
BYTES_A_PIXEL = 6  # of the most pixels that a photograph may have: what decoding may need
# Pixels; larger ones are decoded one at a time. JPEG is decoded at a reduced scale, in a quarter of others' time.
LARGE = {"jpeg": 16_000_000, "other": 4_000_000}
WAITING = 12  # large ones that wait; further ones are refused, so that the service has places for others
_RESTART_PX = 16_000_000  # decoding as many takes as long as starting a process
_TRIES = 3  # processes that are asked about one photograph, where others end for reasons that may not be its own
_CRASHES = 2  # of those: the photograph is refused, so that a file that crashes its decoder is not sent again
_AGAIN_S = 1.0  # before a process that cannot start is tried again


class PoolBusy(Exception):
    """The photograph cannot be decoded now: try again. The message says why."""


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
        # The one that worked last is asked first: its caches are warm.
        self._idle: queue.LifoQueue[DecodeProcess] = queue.LifoQueue()
        self._all: set[DecodeProcess] = set()
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._large, self._queued = threading.Lock(), 0
        self._wanted: queue.SimpleQueue[None] = queue.SimpleQueue()  # an entry for each process to be started
        self._starter = threading.Thread(target=self._replace_ended, name="decode-pool", daemon=True)

    def start(self) -> None:
        """Starts the processes; returns once they are ready.

        Raises:
            OSError: A process cannot be started.
            ProcessEnded: A process ended before it was ready.
        """
        with ThreadPoolExecutor(self._processes) as pool:
            starting = [pool.submit(DecodeProcess, self._settings) for _ in range(self._processes)]
        try:
            for future in starting:
                self._add(future.result())
        except BaseException:
            for future in starting:
                if future.exception() is None:
                    future.result().close()
            raise
        self._starter.start()

    def close(self) -> None:
        """Ends the processes; what is under way is refused as PoolBusy."""
        self._ended.set()
        self._wanted.put(None)  # wakes the thread
        with self._lock:
            for process in self._all:
                process.end()
            self._all.clear()
        with suppress(queue.Empty):
            while True:
                self._idle.get_nowait().close()

    def measure(self, data: bytes, network: NetworkInput | None, is_gone: Callable[[], bool] = never) -> Measured:
        """Decodes, letterboxes and measures a photograph in one of the processes; see `decoding.measure`.

        Args:
            data: The file's bytes.
            network: What the model's network takes; None: the whole photograph is given back.
            is_gone: Whether its sender has left. Then the process of a very large one is ended; another one is soon
                finished, and starting a process would cost more.

        Raises:
            BadImage: It cannot be used, or decoding it takes too much.
            PoolBusy: It is large, and others wait already; or processes keep ending, or the pool is closed.
            ClientGone: Its sender has left.
        """
        request = {"network": network and asdict(network), "large": LARGE}
        head, body = self._ask(request, data, is_gone, ends_with_client=False)
        if "large" in head:
            with self._alone(is_gone):
                ends = head["large"] > _RESTART_PX
                head, body = self._ask({**request, "large": None}, data, is_gone, ends_with_client=ends)
        if is_gone():
            raise ClientGone
        return _measured(head, body)

    def _ask(
        self, request: dict[str, Any], data: bytes, is_gone: Callable[[], bool], ends_with_client: bool
    ) -> tuple[dict[str, Any], bytes]:
        crashes = 0
        for _ in range(_TRIES):
            process = self._idle_process(is_gone)
            is_whole = False
            try:
                answer = process.ask(request, data, is_gone if ends_with_client else never)
                is_whole = True
                return answer
            except BadImage:
                is_whole = True
                raise
            except ProcessEnded as error:
                logger.warning("A decoding process ended: %s.", error)
                if error.is_too_slow:
                    raise BadImage("too_costly", "decoding it takes too much time: its process was ended") from error
                crashes += error.is_crash
                if crashes == _CRASHES:
                    raise BadImage("too_costly", f"decoding it ended {crashes} processes in turn") from error
            finally:
                if is_whole and not self._ended.is_set():
                    self._idle.put(process)
                else:
                    self._replace(process)
        raise PoolBusy(f"the processes that decoded it ended, {_TRIES} in turn")

    def _idle_process(self, is_gone: Callable[[], bool]) -> DecodeProcess:
        """Raises ClientGone, PoolBusy."""
        while not self._ended.is_set():
            if is_gone():
                raise ClientGone
            try:
                process = self._idle.get(timeout=LOOK_S)
            except queue.Empty:
                continue
            if process.is_alive():
                return process
            logger.warning("A decoding process was ended by something else.")
            self._replace(process)
        raise PoolBusy("the service ends")

    @contextmanager
    def _alone(self, is_gone: Callable[[], bool]) -> Iterator[None]:
        with self._lock:
            if self._queued > WAITING:  # one of them is being decoded
                raise PoolBusy("too many large photographs wait to be decoded")
            self._queued += 1
        try:
            while not self._large.acquire(timeout=LOOK_S):
                if is_gone():
                    raise ClientGone
                if self._ended.is_set():
                    raise PoolBusy("the service ends")
            try:
                yield
            finally:
                self._large.release()
        finally:
            with self._lock:
                self._queued -= 1

    def _add(self, process: DecodeProcess) -> None:
        with self._lock:
            if self._ended.is_set():
                process.close()
                return
            self._all.add(process)
        self._idle.put(process)

    def _replace(self, process: DecodeProcess) -> None:
        with self._lock:
            self._all.discard(process)
        process.close()
        self._wanted.put(None)

    def _replace_ended(self) -> None:
        """Starts a process for each that ended; for the pool's own thread, so that none has to be started for it."""
        while True:
            self._wanted.get()
            while not self._ended.is_set():
                try:
                    self._add(DecodeProcess(self._settings))
                    break
                except Exception as error:  # whatever it is, the pool must not shrink for good
                    logger.error("A decoding process cannot be started (%s); it is tried again.", error)
                    self._ended.wait(_AGAIN_S)
            if self._ended.is_set():
                return


def _measured(head: dict[str, Any], body: bytes) -> Measured:
    pixels = np.frombuffer(body, np.uint8).reshape(head["shape"])
    image: Any = pixels
    if "scale" in head:
        dx, dy = head["offset"]
        image = Letterboxed(pixels, head["scale"], (dx, dy), head["width"], head["height"])
    return Measured(head["width"], head["height"], head["format"], head["camera"], head["features"], image)
