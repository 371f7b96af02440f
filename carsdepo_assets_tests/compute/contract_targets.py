"""The compute targets that keep one contract, each with the emulated account that it needs."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from carsdepo_assets.compute.local import LocalCompute
from carsdepo_assets.compute.sagemaker import SageMakerCompute
from carsdepo_assets.compute.target import ComputeTarget
from carsdepo_assets_tests.compute.sagemaker_cases import BUCKET, IMAGE, INSTANCE, ROLE, emulated_aws

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


TARGETS: dict[str, Callable[[], AbstractContextManager[ComputeTarget]]] = {"local": local, "sagemaker": sagemaker}
LAKE = f"s3://{BUCKET}/lake"
