"""compute/sagemaker.py: jobs in containers of the emulated SageMaker, where an engine and an image are at hand.

DOCKER_HOST names the engine, CARSDEPO_WORKER_IMAGE an image with Python 3.11 whose entrypoint is deploy/images/
entrypoint.py. This checkout and this environment's packages are mounted into it.
"""

import os
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from carsdepo_assets.compute.sagemaker import SageMakerCompute
from carsdepo_assets.compute.target import Verb
from carsdepo_assets_tests.compute.contract_worker import ContractSpec
from carsdepo_assets_tests.compute.sagemaker_cases import BUCKET, ROLE, Materialized, materialized
from deploy.emulators.sagemaker_on_moto import SageMakerOnMoto, environment
from deploy.emulators.sagemaker_runners import ContainerRunner

IMAGE = os.environ.get("CARSDEPO_WORKER_IMAGE", "")
WORKER = "carsdepo_assets_tests.compute.contract_worker"
MOUNTS = {"/repository": str(Path(__file__).parents[2]), "/packages": sysconfig.get_path("purelib")}
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (IMAGE and os.environ.get("DOCKER_HOST")), reason="DOCKER_HOST and CARSDEPO_WORKER_IMAGE are not set"
    ),
]


@pytest.fixture(scope="module")
def aws() -> Iterator[SageMakerOnMoto]:
    with SageMakerOnMoto(ContainerRunner(mounts=MOUNTS)) as emulator, environment(emulator):
        print(f"SageMaker runs {emulator.runner.words}.")
        emulator.client("s3").create_bucket(Bucket=BUCKET)
        yield emulator


def run(does: str, verb: Verb = "train", image: str = IMAGE, **more: Any) -> Materialized:
    target = SageMakerCompute(
        image=image,
        role=ROLE,
        bucket=BUCKET,
        region="us-east-1",
        check_first=False,
        variables={"PYTHONPATH": "/repository:/packages", "PYTHONDONTWRITEBYTECODE": "1"},
        poll_s=0.2,
        poll_max_s=0.4,
        **more,
    )
    spec = ContractSpec.model_validate({"lake": f"s3://{BUCKET}/lake", "does": does, "figure": 0.5})

    @dg.asset
    def model(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        return target.run(context, verb, spec.model_dump(mode="json"), module=WORKER)

    return materialized(model)


@pytest.mark.parametrize("verb", ["train", "evaluate"])
def test_a_container_reports(verb: Verb, aws: SageMakerOnMoto) -> None:
    result = run("report", verb)
    assert result.success, result.error
    assert result.metadata["figure"] == 0.5
    assert aws.jobs[result.metadata["job"]].containers == 1


def test_a_container_that_fails_gives_its_words(aws: SageMakerOnMoto) -> None:
    result = run("fail")
    assert "the worker's own words" in result.error
    assert "exit code: 1" in result.error


def test_an_image_that_is_not_there(aws: SageMakerOnMoto) -> None:
    assert "Cannot pull algorithm container" in run("report", image="localhost/carsdepo-no-such-image:1").error
