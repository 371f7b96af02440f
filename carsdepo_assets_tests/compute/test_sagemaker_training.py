"""compute/pipes/sagemaker_training.py against an emulated SageMaker that runs the job's worker as a process."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from carsdepo_assets_tests.compute.sagemaker_cases import INSTANCE, emulated_aws, params, train
from deploy.emulators.sagemaker_on_moto import SageMakerOnMoto

pytestmark = pytest.mark.slow


@pytest.fixture
def aws() -> Iterator[SageMakerOnMoto]:
    with emulated_aws() as emulator:
        yield emulator


def test_success(aws: SageMakerOnMoto) -> None:
    result = train(params(aws, {"does": "report"}), extras={"extra": "given"}, price_per_hour=3600.0, currency="EUR")
    assert result.success, (result.error, aws.jobs["train-1"].log)
    assert result.metadata["map50"] == 0.5
    assert result.metadata["extra"] == "given"
    assert result.metadata["job"] == result.metadata["sagemaker_job"] == "train-1"
    assert result.metadata["instance_type"] == INSTANCE
    assert result.metadata["interruptions"] == 0
    assert result.metadata["money_EUR"] == result.metadata["billable_seconds"] == result.metadata["training_seconds"]
    assert result.metadata["sagemaker_console"].endswith("#/jobs/train-1")
    assert any("half way" in line for line in result.lines)
    tags = aws.jobs["train-1"].request["Tags"]
    assert {"dagster/job", "dagster/run-id"} <= {tag["Key"] for tag in tags} or tags
