"""The job `reference`: the reference of a model, with the model's answers on photographs that it has not seen."""

from __future__ import annotations

import sys
import time
from contextlib import ExitStack

from pydantic import Field

from carsdepo_assets.compute.worker.events import Events
from carsdepo_assets.compute.worker.process import Job, JobSpec
from carsdepo_assets.lake.lake import Lake


class ReferenceSpec(JobSpec):
    """Whose references are made."""

    digests: tuple[str, ...] = Field(min_length=1, description="the models")


def run(spec: ReferenceSpec, events: Events, after: ExitStack) -> None:
    """Makes each model's reference and reports how many photographs they hold."""
    from carsdepo_assets.monitoring.reference import build_reference

    lake, started = Lake.open(spec.lake), time.monotonic()
    photographs = asked = 0
    for digest in spec.digests:
        events.log(f"Reference of model {digest}: its photographs, and its answers on those it has not seen.")
        reference = build_reference(lake, digest, spec.policy)
        photographs, asked = photographs + reference.rows.num_rows, asked + reference.asked
    events.report(
        {
            "models": ", ".join(spec.digests),
            "photographs": photographs,
            "answers": asked,
            "seconds": round(time.monotonic() - started, 1),
        },
        ":".join(spec.digests),
    )


JOB = Job(ReferenceSpec, run, "reference")

if __name__ == "__main__":
    sys.exit(JOB.main())
