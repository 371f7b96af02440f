"""The worker of the compute targets' contract, started as `python -m MODULE --spec PLACE`."""

import os
import sys
from contextlib import ExitStack
from typing import Literal

from carsdepo_assets.compute.worker.events import Events
from carsdepo_assets.compute.worker.process import Job, JobSpec, work_folder


class ContractSpec(JobSpec):
    """What the worker is to do."""

    does: Literal["report", "fail", "report nothing", "leave"]
    figure: float = 0.0


def work(spec: ContractSpec, events: Events, after: ExitStack) -> None:
    if spec.does == "leave":
        os._exit(0)
    events.log(f"figure {spec.figure}")
    if spec.does == "fail":
        raise ValueError("the worker's own words")
    if spec.does == "report":
        assert work_folder("contract").is_dir()
        rows = [{"epoch": 1.0, "loss": 2.0}, {"epoch": 2.0, "loss": spec.figure}]
        events.report({"figure": spec.figure, "lake": spec.lake, "history": rows}, "version-1")


JOB = Job(ContractSpec, work, "train")

if __name__ == "__main__":
    sys.exit(JOB.main())
