"""The job `export`: a model becomes an ONNX graph, which is compared with torch on golden photographs.

The files are neither signed nor released here: the keys stay with the asset that asked for the job.
"""

from __future__ import annotations

import sys
import time
from contextlib import ExitStack

from carsdepo_assets.compute.worker.events import Events
from carsdepo_assets.compute.worker.process import Job, JobSpec
from carsdepo_assets.lake.lake import Lake


class ExportSpec(JobSpec):
    """Which model is exported."""

    digest: str


def run(spec: ExportSpec, events: Events, after: ExitStack) -> None:
    """Exports the model, unless a current export stands, and reports each runtime's figures."""
    from carsdepo_assets.detectors.export.export_model import export_model
    from carsdepo_assets.evaluation.golden_photographs import golden_photographs

    lake, started = Lake.open(spec.lake), time.monotonic()
    photographs = golden_photographs(lake, spec.policy, spec.policy.release.validation_photographs)
    card = export_model(lake, spec.digest, spec.policy, [p.rgb for p in photographs])
    rows = [
        {
            "runtime": name,
            "median_ms": figures.median_ms,
            "parity": figures.parity.share if figures.parity else None,
            "note": figures.reason or "",
        }
        for name, figures in card.runtimes.items()
    ]
    events.report(
        {
            "digest": spec.digest,
            "chosen": card.chosen,
            "why": card.why,
            "runtimes": rows,
            "photographs": card.photographs,
            "seconds": round(time.monotonic() - started, 1),
        },
        f"{spec.digest}:{card.graph_sha256}",
    )


JOB = Job(ExportSpec, run, "export")

if __name__ == "__main__":
    sys.exit(JOB.main())
