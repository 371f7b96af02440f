"""compute/pipes/sagemaker_processing.py: jobs of an emulated SageMaker that runs the worker as a process."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from carsdepo_assets_tests.compute.sagemaker_cases import BUCKET, IMAGE, ROLE, WORKER, emulated_aws, process
from deploy.emulators.sagemaker_on_moto import SageMakerOnMoto

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def aws() -> Iterator[SageMakerOnMoto]:
    with emulated_aws() as emulator:
        yield emulator


def params(aws: SageMakerOnMoto, spec: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    aws.client("s3").put_object(Bucket=BUCKET, Key="processing.json", Body=json.dumps(spec).encode())
    arguments = ["process", "--module", WORKER, "--spec", f"s3://{BUCKET}/processing.json"]
    cluster = {"InstanceType": "ml.m5.xlarge", "InstanceCount": 1, "VolumeSizeInGB": 30}
    return {
        "AppSpecification": {"ImageUri": IMAGE, "ContainerArguments": arguments},
        "RoleArn": ROLE,
        "ProcessingResources": {"ClusterConfig": cluster},
        "StoppingCondition": {"MaxRuntimeInSeconds": 600},
        "Environment": {"CARSDEPO_WORK": "/opt/ml/processing/work"},
        **more,
    }


def test_success(aws: SageMakerOnMoto) -> None:
    result = process(params(aws, {"does": "report"}), "success", extras={"extra": "given"}, price_per_hour=3600.0)
    assert result.success, (result.error, aws.jobs["success"].log)
    assert result.metadata["extra"] == "given"
    assert result.metadata["instance_type"] == "ml.m5.xlarge"
    assert result.metadata["money_USD"] == result.metadata["processing_seconds"]
    assert result.metadata["sagemaker_console"].endswith("#/processing-jobs/success")
    again = process(params(aws, {"does": "report"}), "success")
    assert again.success  # read to its end
    assert aws.jobs["success"].containers == 1


def test_a_failure_gives_the_exit_code_and_a_new_try_follows(aws: SageMakerOnMoto) -> None:
    result = process(params(aws, {"does": "fail"}), "fails")
    assert "exit code: 1" in result.error
    assert "ValueError: the worker's own words" in result.error
    mended = process(params(aws, {"does": "report"}), "fails")
    assert mended.metadata["sagemaker_job"] == "fails-2"


def test_a_killed_container_says_so(aws: SageMakerOnMoto) -> None:
    result = process(params(aws, {"does": "oom"}), "killed")
    assert "exit code: 137" in result.error
    assert f"{WORKER} was killed by signal 9, as the system does when memory is short" in result.error


def test_a_worker_that_cannot_be_imported_says_so(aws: SageMakerOnMoto) -> None:
    request = params(aws, {"does": "report"})
    request["AppSpecification"]["ContainerArguments"][2] = "no_such_module"
    assert "No module named no_such_module" in process(request, "not-there").error


def test_a_time_limit_stops_it(aws: SageMakerOnMoto) -> None:
    request = params(aws, {"does": "train", "epochs": 3, "pause_at": 2}, StoppingCondition={"MaxRuntimeInSeconds": 1})
    result = process(request, "late")
    assert "MaxRuntimeInSeconds (1 s)" in result.error
    assert aws.jobs["late"].message is None  # it was asked to end


def test_a_variable_over_256_characters_is_refused_before_anything_starts(aws: SageMakerOnMoto) -> None:
    request = params(aws, {"does": "report"})
    request["Environment"]["LONG"] = "x" * 257
    result = process(request, "long")
    assert "LONG: a variable of a processing job holds 256 characters" in result.error
    assert "long" not in aws.jobs
