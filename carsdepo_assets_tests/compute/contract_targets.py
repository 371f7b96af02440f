"""The compute targets that keep one contract, each with the emulated account that it needs."""

import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from carsdepo_assets.compute.ecs import Capacity, EcsCompute
from carsdepo_assets.compute.local import LocalCompute
from carsdepo_assets.compute.sagemaker import SageMakerCompute
from carsdepo_assets.compute.target import ComputeTarget
from carsdepo_assets_tests.compute.ecs_tests import ENTRYPOINT, define
from carsdepo_assets_tests.compute.sagemaker_cases import BUCKET, IMAGE, INSTANCE, ROLE, emulated_aws
from deploy.emulators.ecs_on_moto import EcsOnMoto

VARIABLES = {"OMP_NUM_THREADS": "1"}  # sums of floats depend on the number of threads


@contextmanager
def local() -> Iterator[ComputeTarget]:
    """This machine, with a lake on an emulated S3."""
    with emulated_aws():
        yield LocalCompute(
            grace_s=2, poll_s=0.05, in_process=[], variables=VARIABLES, secrets=["AWS_SECRET_ACCESS_KEY"]
        )


@contextmanager
def sagemaker() -> Iterator[ComputeTarget]:
    """SageMaker on moto, whose jobs are processes of this machine."""
    with emulated_aws():
        yield SageMakerCompute(
            image=IMAGE,
            role=ROLE,
            bucket=BUCKET,
            region="us-east-1",
            instance_types={"train": INSTANCE, "others": "ml.m5.xlarge"},
            variables=VARIABLES,
            check_first=False,
            poll_s=0.2,
            poll_max_s=0.4,
        )


@contextmanager
def ecs() -> Iterator[ComputeTarget]:
    """ECS on moto, whose tasks are processes of this machine."""
    images = {"worker:1": [sys.executable, ENTRYPOINT]}
    with (
        tempfile.TemporaryDirectory() as folder,
        EcsOnMoto(Path(folder), images) as emulated,
        pytest.MonkeyPatch.context() as patch,
    ):
        for name, value in emulated.variables.items():
            patch.setenv(name, value)
        where = {"CreateBucketConfiguration": {"LocationConstraint": emulated.variables["AWS_DEFAULT_REGION"]}}
        emulated.client("s3").create_bucket(Bucket=BUCKET, **where)
        emulated.client("logs").create_log_group(logGroupName="jobs")
        emulated.client("ecs").create_cluster(clusterName="c")
        options = {"awslogs-group": "jobs", "awslogs-region": "eu-west-1", "awslogs-stream-prefix": "ecs"}
        define(emulated.client("ecs"), logConfiguration={"logDriver": "awslogs", "options": options})
        yield EcsCompute(
            cluster="c",
            task_definitions={"others": "train"},
            bucket=BUCKET,
            capacity=[Capacity(name="FARGATE")],
            vcpus={"train": 1.0},
            memory_gb={"train": 2.0},
            variables=VARIABLES,
            check_first=False,
            poll_s=0.2,
            poll_max_s=0.4,
        )


TARGETS: dict[str, Callable[[], AbstractContextManager[ComputeTarget]]] = {
    "local": local,
    "ecs": ecs,
    "sagemaker": sagemaker,
}
LAKE = f"s3://{BUCKET}/lake"
