"""The worker of the benchmark of compute targets: it works for as long as its spec says, and reports once."""

import sys
import time
from contextlib import ExitStack

from carsdepo_assets.compute.worker.events import Events
from carsdepo_assets.compute.worker.process import Job, JobSpec


class WaitingSpec(JobSpec):
    """How long the work takes."""

    seconds: float


def work(spec: WaitingSpec, events: Events, after: ExitStack) -> None:
    """Logs once a second, then reports."""
    for second in range(round(spec.seconds)):
        events.log(f"second {second}")
        time.sleep(1)
    events.report({"seconds": spec.seconds}, "1")


JOB = Job(WaitingSpec, work)

if __name__ == "__main__":
    sys.exit(JOB.main())
