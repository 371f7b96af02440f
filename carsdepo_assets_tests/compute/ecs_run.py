"""A Dagster run in a process of its own, for tests that kill or cancel it.

Usage: python -m carsdepo_assets_tests.compute.ecs_run WHAT-THE-WORKER-DOES FILE. The account is that of the AWS_*
variables; FILE receives how the run ended.
"""

import os
import signal
import sys
from pathlib import Path

import boto3
import dagster as dg

from carsdepo_assets.compute.pipes.ecs_task import PipesECSTaskClient
from carsdepo_assets_tests.compute.ecs_tests import BUCKET, ON_DEMAND, QUICK, SPOT, task_params

does, ended = sys.argv[1], Path(sys.argv[2])
client = PipesECSTaskClient(BUCKET, "pipes", boto3.client("ecs"), boto3.client("s3"), limits=QUICK)


@dg.asset
def model(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
    try:
        invocation = client.run(
            context=context, job_name="job-1", run_task_params=task_params(does), providers=(SPOT, ON_DEMAND)
        )
    except BaseException as error:
        ended.write_text(type(error).__name__)
        raise
    return invocation.get_materialize_result(implicit_materialization=False)


signal.signal(signal.SIGTERM, signal.getsignal(signal.SIGINT))  # as Dagster's processes do
with dg.DagsterInstance.ephemeral() as instance:
    result = dg.materialize([model], instance=instance, raise_on_error=False)
os._exit(0 if result.success else 1)
