"""The job `evaluate`: models predict on the golden set; their detections go to the lake's prediction cache.

What follows from the detections (figures, comparison, gate, report) needs no torch, and is computed by the assets.
"""

from __future__ import annotations

import sys
import time
from contextlib import ExitStack

from pydantic import Field

from carsdepo_assets.compute.worker.events import Events
from carsdepo_assets.compute.worker.process import Job, JobSpec
from carsdepo_assets.lake.lake import Lake


class EvaluationSpec(JobSpec):
    """Which models predict on which photographs."""

    digests: tuple[str, ...] = Field(min_length=1, description="the models")
    dataset_version: str = Field(description="dataset that has the golden set's photographs")
    golden: int | None = Field(None, description="version of the golden set; None: the dataset's split `test`")


def run(spec: EvaluationSpec, events: Events, after: ExitStack) -> None:
    """Predicts what is missing in the cache, model by model, and reports how much that was."""
    from carsdepo_assets.evaluation import prediction_cache
    from carsdepo_assets.evaluation.golden import count_missing, golden_scores
    from carsdepo_assets.lake import golden

    lake, started = Lake.open(spec.lake), time.monotonic()
    prediction_cache.announce(lake)
    chosen = None if spec.golden is None else golden.read(lake, spec.golden)
    predicted = photographs = 0
    for digest in spec.digests:
        missing = count_missing(lake, digest, spec.dataset_version, spec.policy, of=chosen)
        events.log(f"Model {digest} predicts on {missing} photographs of the golden set.")
        scored = golden_scores(lake, digest, spec.dataset_version, spec.policy, of=chosen)
        predicted, photographs = predicted + missing, len(scored.rows)
    events.report(
        {
            "models": ", ".join(spec.digests),
            "photographs": photographs,
            "predicted": predicted,
            "seconds": round(time.monotonic() - started, 1),
        },
        ":".join(spec.digests),
    )


JOB = Job(EvaluationSpec, run, "evaluate")

if __name__ == "__main__":
    sys.exit(JOB.main())
