"""What an ECS task costs over its worker alone, on an emulated ECS, with the polling of production.

The emulator starts the worker as a process at once: the time in which AWS finds a machine and pulls an image is not in
it. What is in it is the platform's own: the request, the looks at S3, and the wait until the end is noticed.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from unittest.mock import patch

import dagster as dg

from benchmarks.compute import QUIET, WORKER, worker_alone
from benchmarks.compute_worker import WaitingSpec
from carsdepo_assets.compute.ecs import EcsCompute
from deploy.emulators.ecs_on_ministack import ENTRYPOINT
from deploy.emulators.ecs_on_moto import REGION, EcsOnMoto

BUCKET, ROUNDS, SHORT_S, LONG_S = "benchmark", 3, 3, 90


def run() -> list[dict[str, Any]]:
    """ROUNDS of a short worker, alone and as a task in turn, then one long task for the rate of questions."""
    alone, tasks = [], []
    images = {"worker:1": [sys.executable, str(ENTRYPOINT)]}
    with (
        tempfile.TemporaryDirectory() as folder,
        EcsOnMoto(Path(folder), images) as aws,
        patch.dict(os.environ, aws.variables),
    ):
        aws.client("s3").create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})
        aws.client("ecs").create_cluster(clusterName="benchmark")
        container = {"name": "worker", "image": "worker:1", "essential": True, "memory": 512}
        aws.client("ecs").register_task_definition(family="benchmark", containerDefinitions=[container])
        for _ in range(ROUNDS):
            alone.append(worker_alone(SHORT_S))
            tasks.append(_task(aws, SHORT_S))
        before = aws.count("describe_tasks")
        long = _task(aws, LONG_S)
        asked = aws.count("describe_tasks") - before
    worker = statistics.median(alone)

    def median(name: str) -> float:
        return statistics.median(task[name] for task in tasks)

    what = f"a worker of {SHORT_S} s, median of {ROUNDS}"
    return [
        {"name": f"the worker alone: {what}", "value": worker, "unit": "s"},
        {
            "name": f"as an ECS task, emulated: {what}",
            "value": median("wall"),
            "unit": "s",
            "against": "the worker alone",
            "ratio": median("wall") / worker,
        },
        {"name": "start: from the call to the container", "value": median("start"), "unit": "s"},
        {"name": "poll and fetch: from the task's end to its result", "value": median("fetch"), "unit": "s"},
        {"name": f"DescribeTasks during a task of {LONG_S} s", "value": asked / long["wall"] * 60, "unit": "a minute"},
        {"name": f"over a worker of {LONG_S} s", "value": long["wall"] - LONG_S, "unit": "s"},
    ]


def _task(aws: EcsOnMoto, seconds: float) -> dict[str, float]:
    target = EcsCompute(
        cluster="benchmark", task_definitions={"others": "benchmark"}, bucket=BUCKET, region=REGION, check_first=False
    )
    spec = json.loads(WaitingSpec(lake=f"s3://{BUCKET}/lake", seconds=seconds).model_dump_json())

    @dg.asset
    def model(context):  # type: ignore[no-untyped-def]
        began = time.monotonic()
        called = datetime.now(UTC)
        result = target.run(context, "train", spec, module=WORKER)
        times.update(called=called, came=datetime.now(UTC), wall=time.monotonic() - began)
        return result

    times: dict[str, Any] = {}
    with dg.DagsterInstance.ephemeral() as instance:
        dg.materialize([model], instance=instance, run_config=QUIET)
    task = aws.tasks()[-1]
    assert task.started is not None
    assert task.stopped is not None
    return {
        "wall": times["wall"],
        "start": (task.started - times["called"]).total_seconds(),
        "fetch": (times["came"] - task.stopped).total_seconds(),
    }
