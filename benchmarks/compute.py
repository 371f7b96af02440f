"""What a SageMaker job costs over its worker alone, on an emulated SageMaker, with the polling of production.

The emulator starts the worker as a process at once: the minutes in which AWS finds an instance and pulls an image are
not in it. What is in it is the platform's own: the request, the looks at S3, and the wait until the end is noticed.
"""

from __future__ import annotations

import json
import logging
import os
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg

from benchmarks.compute_worker import WaitingSpec
from carsdepo_assets.compute.sagemaker import SageMakerCompute
from deploy.emulators.sagemaker_on_moto import SageMakerOnMoto, environment
from deploy.emulators.sagemaker_runners import ProcessRunner

WORKER = "benchmarks.compute_worker"
BUCKET, ROUNDS, SHORT_S, LONG_S = "benchmark", 3, 3, 90
# The table is what is to be read: neither each request to moto nor each of Dagster's events.
QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
logging.getLogger("werkzeug").setLevel(logging.WARNING)


def run() -> list[dict[str, Any]]:
    """ROUNDS of a short worker, alone and as a job in turn, then one long job for the rate of questions."""
    alone, jobs = [], []
    with SageMakerOnMoto(ProcessRunner()) as aws, environment(aws):
        aws.client("s3").create_bucket(Bucket=BUCKET)
        for _ in range(ROUNDS):
            alone.append(worker_alone(SHORT_S))
            jobs.append(_job(aws, SHORT_S))
        before = aws.faults.count("DescribeTrainingJob"), aws.faults.count("ListObjectsV2")
        long = _job(aws, LONG_S)
        asked = aws.faults.count("DescribeTrainingJob") - before[0]
        listed = aws.faults.count("ListObjectsV2") - before[1]
    worker = statistics.median(alone)

    def median(name: str) -> float:
        return statistics.median(job[name] for job in jobs)

    what = f"a worker of {SHORT_S} s, median of {ROUNDS}"
    against = "the worker alone"
    return [
        {"name": f"the worker alone: {what}", "value": worker, "unit": "s"},
        {
            "name": f"as a SageMaker job, emulated: {what}",
            "value": median("wall"),
            "unit": "s",
            "against": against,
            "ratio": median("wall") / worker,
        },
        {"name": "start: from the call to the container", "value": median("start"), "unit": "s"},
        {"name": "poll and fetch: from the job's end to its result", "value": median("fetch"), "unit": "s"},
        {
            "name": f"DescribeTrainingJob during a job of {LONG_S} s",
            "value": asked / long["wall"] * 60,
            "unit": "a minute",
        },
        {"name": f"ListObjectsV2 during a job of {LONG_S} s", "value": listed / long["wall"] * 60, "unit": "a minute"},
        {"name": f"over a worker of {LONG_S} s", "value": long["wall"] - LONG_S, "unit": "s"},
    ]


def worker_alone(seconds: float) -> float:
    """Seconds of wall time of the worker that waits, as a process."""
    with tempfile.TemporaryDirectory() as folder:
        spec = Path(folder) / "spec.json"
        spec.write_text(WaitingSpec(lake=folder, seconds=seconds).model_dump_json())
        began = time.monotonic()
        command = [sys.executable, "-m", WORKER, "--spec", str(spec)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=dict(os.environ))
        return time.monotonic() - began


def _job(aws: SageMakerOnMoto, seconds: float) -> dict[str, float]:
    target = SageMakerCompute(
        image="benchmark:1",
        role="arn:aws:iam::123456789012:role/benchmark",
        bucket=BUCKET,
        region=aws.region,
        check_first=False,
    )
    spec = json.loads(WaitingSpec(lake=f"s3://{BUCKET}/lake", seconds=seconds).model_dump_json())

    @dg.asset
    def model(context):  # type: ignore[no-untyped-def]
        called = datetime.now(UTC)
        result = target.run(context, "train", spec, module=WORKER)
        times.update(called=called, came=datetime.now(UTC), job=result.metadata["job"].value)
        return result

    times: dict[str, Any] = {}
    with dg.DagsterInstance.ephemeral() as instance:
        dg.materialize([model], instance=instance, run_config=QUIET)
    job = aws.jobs[times["job"]]
    assert job.started is not None
    assert job.ended is not None
    return {
        "wall": (times["came"] - times["called"]).total_seconds(),
        "start": (job.started - times["called"]).total_seconds(),
        "fetch": (times["came"] - job.ended).total_seconds(),
    }
