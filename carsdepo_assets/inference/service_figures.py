"""What a service publishes to CloudWatch: counts and times of its requests, readiness, and use of the machine."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from carsdepo_assets.cloudwatch.catalogue import (
    CAPTURE_LAG,
    CPU_USE,
    GPU_MEMORY_USE,
    GPU_USE,
    LATENCY,
    MEMORY_USE,
    PHOTOGRAPHS,
    READY,
    REQUESTS,
    REQUESTS_FAILED,
    REQUESTS_REFUSED,
    REQUESTS_UNAVAILABLE,
    Metric,
)
from carsdepo_assets.cloudwatch.emf import MOST_VALUES, Figure, figure, publish
from carsdepo_assets.cloudwatch.machine_use import MachineUse

logger = logging.getLogger(__name__)

EVERY_S = 60.0
"""Seconds between two lines, where no MOST_VALUES requests come in between."""
_LAST_LINE_S = 10.0
_BY_OUTCOME = {"failed": REQUESTS_FAILED, "unavailable": REQUESTS_UNAVAILABLE, "refused": REQUESTS_REFUSED}


class ServiceFigures:
    """Gathers a service's figures and writes them as lines, from a thread of its own.

    A service that is killed loses what it gathered since its last line, EVERY_S at most; one that ends writes it.

    Args:
        namespace: CloudWatch's; None: nothing is published.
        stage: staging or production.
        is_ready: whether a request would be answered now.
        capture_lag: seconds, of the oldest answer that ingestion cannot see yet.
        every_s: seconds between two lines.
    """

    def __init__(
        self,
        namespace: str | None,
        stage: str,
        is_ready: Callable[[], bool],
        capture_lag: Callable[[], float],
        every_s: float = EVERY_S,
    ) -> None:
        self._namespace, self._stage = namespace, stage
        self._is_ready, self._capture_lag, self._every_s = is_ready, capture_lag, every_s
        self._gathering = threading.Lock()
        self._counts: dict[Metric, int] = {}
        self._milliseconds: list[float] = []
        self._due, self._ending = threading.Event(), False
        self._machine: MachineUse | None = None
        self._thread = threading.Thread(target=self._run, name="figures", daemon=True)

    def start(self) -> None:
        """Starts the thread, where there is something to publish to."""
        if self._namespace is not None:
            self._machine = MachineUse()
            self._thread.start()

    def answered(self, outcome: str, seconds: float) -> None:
        """Counts a request, by its outcome as inference.metrics names it; cheap enough for the event loop."""
        if self._namespace is None or outcome == "gone":
            return
        with self._gathering:
            self._count(REQUESTS, 1)
            if outcome in _BY_OUTCOME:
                self._count(_BY_OUTCOME[outcome], 1)
            else:
                self._milliseconds.append(round(1000 * seconds, 3))
            is_full = len(self._milliseconds) >= MOST_VALUES
        if is_full:
            self._due.set()

    def inspected(self, photographs: int) -> None:
        """Counts photographs that were inspected."""
        if self._namespace is not None:
            with self._gathering:
                self._count(PHOTOGRAPHS, photographs)

    def stop(self) -> None:
        """Writes what is left, and ends the thread."""
        if self._thread.is_alive():
            self._ending = True
            self._due.set()
            self._thread.join(_LAST_LINE_S)  # stdout may be a pipe that nobody reads any more

    def _count(self, metric: Metric, more: int) -> None:
        self._counts[metric] = self._counts.get(metric, 0) + more

    def _run(self) -> None:
        is_last = False
        while not is_last:
            self._due.wait(self._every_s)
            self._due.clear()
            is_last = self._ending  # read before what is left is gathered, so that nothing comes after it
            try:
                publish(str(self._namespace), self._gathered())
            except Exception:  # stdout may be closed; the service goes on
                logger.exception("the figures of the last %g s could not be published", self._every_s)

    def _gathered(self) -> list[Figure]:
        """What came since the last call, and how the service is now."""
        with self._gathering:
            counts, self._counts = self._counts, {}
            milliseconds, self._milliseconds = self._milliseconds, []
        counted = (REQUESTS, *_BY_OUTCOME.values(), PHOTOGRAPHS)
        use = None if self._machine is None else self._machine.look()
        now: dict[Metric, float | None] = {
            CAPTURE_LAG: self._capture_lag(),
            READY: float(self._is_ready()),
            CPU_USE: use.cpu if use else None,
            MEMORY_USE: use.memory if use else None,
            GPU_USE: use.gpu if use else None,
            GPU_MEMORY_USE: use.gpu_memory if use else None,
        }
        return [
            *(figure(metric, self._stage, counts.get(metric, 0)) for metric in counted),
            Figure(LATENCY, self._stage, milliseconds),
            *(figure(metric, self._stage, value) for metric, value in now.items() if value is not None),
        ]
