"""Publishes, from a thread of a job, how much of its CPU, memory and GPU the job uses, where a namespace is named."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from carsdepo_assets.cloudwatch.catalogue import JOB_CPU_USE, JOB_GPU_MEMORY_USE, JOB_GPU_USE, JOB_MEMORY_USE
from carsdepo_assets.cloudwatch.emf import figure, publish
from carsdepo_assets.cloudwatch.machine_use import MachineUse

NAMESPACE_VARIABLE = "CARSDEPO_METRICS_NAMESPACE"  # CloudWatch's; unset: nothing is published
EVERY_S = 60.0


@contextmanager
def published_use(namespace: str | None, job: str | None, every_s: float = EVERY_S) -> Iterator[None]:
    """Publishes the use of the machine during a block, and once at its end.

    Args:
        namespace: CloudWatch's; None or empty: nothing is published.
        job: one of catalogue.DIMENSIONS["Job"]; None: nothing is published.
        every_s: seconds between two lines.
    """
    if not namespace or job is None:
        yield
        return
    machine, over = MachineUse(), threading.Event()

    def line() -> None:
        use = machine.look()
        shares = (
            (JOB_CPU_USE, use.cpu),
            (JOB_MEMORY_USE, use.memory),
            (JOB_GPU_USE, use.gpu),
            (JOB_GPU_MEMORY_USE, use.gpu_memory),
        )
        publish(namespace, [figure(metric, job, share) for metric, share in shares if share is not None])

    def run() -> None:
        while not over.wait(every_s):
            line()
        line()

    thread = threading.Thread(target=run, name="figures", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
