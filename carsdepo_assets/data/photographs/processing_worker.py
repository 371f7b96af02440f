"""The job `process`: the photographs of an upload batch are decoded, measured and copied for training."""

from __future__ import annotations

import sys
import time
from contextlib import ExitStack

from carsdepo_assets.compute.worker.events import Events
from carsdepo_assets.compute.worker.process import Job, JobSpec
from carsdepo_assets.data.photographs.ingest import ProcessingStep
from carsdepo_assets.lake.lake import Lake


class ProcessingSpec(JobSpec):
    """Which batch is processed, and how far."""

    batch_id: str
    step: ProcessingStep


def run(spec: ProcessingSpec, events: Events, after: ExitStack) -> None:
    """Does one step for the batch, unless it is in the lake already, and reports its rows."""
    from carsdepo_assets.data.photographs.ingest import build_images, build_processed

    lake, started = Lake.open(spec.lake), time.monotonic()
    if spec.step == "images":
        built = build_images(lake, spec.batch_id, spec.policy)
        rows, refused = built.rows.num_rows, built.quarantined.num_rows
    else:
        rows, refused = build_processed(lake, spec.batch_id, spec.policy).rows.num_rows, 0
    events.report(
        {"photographs": rows, "quarantined": refused, "seconds": round(time.monotonic() - started, 1)}, spec.batch_id
    )


JOB = Job(ProcessingSpec, run, "process")

if __name__ == "__main__":
    sys.exit(JOB.main())
