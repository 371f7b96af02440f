"""compute/pipes/sagemaker_training.py: each trouble of a job, on an emulated SageMaker that runs the worker."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from dagster._core.errors import DagsterExecutionInterruptedError

from carsdepo_assets.compute.pipes.sagemaker_training import reason_with_advice
from carsdepo_assets_tests.compute.sagemaker_cases import (
    BUCKET,
    INSTANCE,
    QUICK,
    WORKER,
    emulated_aws,
    params,
    spot,
    train,
)
from deploy.emulators.sagemaker_on_moto import SageMakerOnMoto

pytestmark = pytest.mark.slow
NAME = "DAGSTER_PIPES_OF_A_TEST"  # the image's entrypoint joins the parts of such names
PAUSED = {"does": "train", "epochs": 3, "pause_at": 2}  # waits after epoch 2 until it is ended


@pytest.fixture(scope="module")
def one_aws() -> Iterator[SageMakerOnMoto]:
    with emulated_aws() as emulator:
        yield emulator


@pytest.fixture
def aws(one_aws: SageMakerOnMoto) -> Iterator[SageMakerOnMoto]:
    yield one_aws
    one_aws.faults.expired.clear()
    one_aws.faults.quotas.clear()
    one_aws.faults.skew_s = 0.0
    one_aws.settings.starting.set()


def when(aws: SageMakerOnMoto, name: str, state: str, do: Callable[[], Any]) -> Callable[[float], None]:
    """A sleep for the client that does something once, when the job has come to a state and written its checkpoint."""
    pending = [do]

    def sleep(seconds: float) -> None:
        time.sleep(seconds)
        job = aws.jobs.get(name)
        if pending and job is not None and job.secondary == state and (state == "Starting" or paused(aws, name)):
            pending.pop()()

    return sleep


def paused(aws: SageMakerOnMoto, name: str) -> bool:
    listed = aws.client("s3").list_objects_v2(Bucket=BUCKET, Prefix=f"pipes/{name}/messages/")
    bodies = [
        aws.client("s3").get_object(Bucket=BUCKET, Key=e["Key"])["Body"].read() for e in listed.get("Contents", ())
    ]
    return any(b"epoch 2" in body for body in bodies)


def test_success(aws: SageMakerOnMoto) -> None:
    aws.client("s3").put_object(Bucket=BUCKET, Key="data/a/b.txt", Body=b"x")
    channel = {
        "ChannelName": "photographs",
        "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": f"s3://{BUCKET}/data"}},
    }
    request = params(aws, {"does": "report"}, InputDataConfig=[channel], Tags=[{"Key": "team", "Value": "vision"}])
    result = train(request, "success", extras={"extra": "given"}, price_per_hour=3600.0, currency="EUR")
    assert result.success, (result.error, aws.jobs["success"].log)
    assert result.metadata["map50"] == 0.5
    assert result.metadata["extra"] == "given"
    assert result.metadata["job"] == result.metadata["sagemaker_job"] == "success"
    assert result.metadata["instance_type"] == INSTANCE
    assert result.metadata["interruptions"] == 0
    assert result.metadata["money_EUR"] == result.metadata["billable_seconds"] == result.metadata["training_seconds"]
    assert result.metadata["sagemaker_console"].endswith("#/jobs/success")
    assert any("half way" in line for line in result.lines)
    tags = {tag["Key"]: tag["Value"] for tag in aws.jobs["success"].request["Tags"]}
    assert tags["team"] == "vision"
    assert "dagster/run-id" in tags
    assert aws.client("s3").head_object(Bucket=BUCKET, Key="output/success/output/model.tar.gz")["ContentLength"] > 0


def test_an_algorithm_error_has_its_message(aws: SageMakerOnMoto) -> None:
    result = train(params(aws, {"does": "fail"}), "fails")
    assert not result.success
    assert "AlgorithmError" in result.error
    assert "the worker's own words" in result.error
    assert "exit code: 1" in result.error
    assert result.failure_metadata["instance_type"] == INSTANCE  # what it cost is known too


def test_completed_without_a_report_is_a_failure(aws: SageMakerOnMoto) -> None:
    result = train(params(aws, {"does": "leave"}), "leaves")
    assert aws.jobs["leaves"].status == "Completed"
    assert "did not close its channel" in result.error
    assert "reported no materialization" in result.error


def test_a_killed_container_is_told_from_an_error(aws: SageMakerOnMoto) -> None:
    result = train(params(aws, {"does": "oom"}), "oom")
    assert "exit code: 137" in result.error
    assert "lack of memory" in result.error


def test_an_image_that_cannot_be_pulled(aws: SageMakerOnMoto) -> None:
    request = params(
        aws, {"does": "report"}, AlgorithmSpecification={"TrainingImage": "missing:1", "TrainingInputMode": "File"}
    )
    result = train(request, "no-image")
    assert "Cannot pull algorithm container" in result.error
    assert "permission to read it from ECR" in result.error


def test_a_job_that_somebody_stopped(aws: SageMakerOnMoto) -> None:
    def stop() -> None:
        aws.client("sagemaker").stop_training_job(TrainingJobName="stopped")

    result = train(params(aws, PAUSED), "stopped", {"sleep": when(aws, "stopped", "Training", stop)})
    assert "stopped by StopTrainingJob" in result.error


def test_time_out(aws: SageMakerOnMoto) -> None:
    result = train(params(aws, PAUSED, StoppingCondition={"MaxRuntimeInSeconds": 1}), "late")
    assert "MaxRuntimeInSeconds (1 s)" in result.error
    assert aws.jobs["late"].secondary == "MaxRuntimeExceeded"


@pytest.mark.parametrize("state", ["Starting", "Training"])
def test_a_cancelled_run_stops_its_job(state: str, aws: SageMakerOnMoto) -> None:
    name = f"cancelled-{state.lower()}"
    if state == "Starting":
        aws.settings.starting.clear()

    def interrupt() -> None:
        raise DagsterExecutionInterruptedError

    result = train(params(aws, PAUSED), name, {"sleep": when(aws, name, state, interrupt)})
    assert not result.success
    job = aws.jobs[name]
    assert job.status == "Stopped"  # the run waited for it
    assert job.containers == (0 if state == "Starting" else 1)


def test_a_spot_interruption_goes_on_from_the_checkpoint(aws: SageMakerOnMoto) -> None:
    sleep = when(aws, "spot", "Training", lambda: aws.jobs["spot"].interrupt())
    request = params(aws, {**PAUSED, "epochs": 4}, **spot())
    result = train(request, "spot", {"sleep": sleep}, price_per_hour=3600.0)
    assert result.success, (result.error, aws.jobs["spot"].log)
    assert result.count == 1
    assert aws.jobs["spot"].containers == 2
    assert result.metadata["resumed_at"] == 2
    assert result.metadata["interruptions"] == 1
    assert result.metadata["spot"] is True
    assert result.metadata["billable_seconds"] <= result.metadata["training_seconds"]
    assert result.metadata["money_USD"] == result.metadata["billable_seconds"]
    lines = [m[0] for line in result.lines if (m := re.search(r"epoch \d$", line))]
    assert lines == ["epoch 0", "epoch 1", "epoch 2", "epoch 2", "epoch 3", "epoch 4"]  # "starting after" twice


def test_no_spot_capacity_goes_on_demand(aws: SageMakerOnMoto) -> None:
    aws.settings.without_capacity = 1
    result = train(params(aws, {"does": "report"}, **spot()), "scarce", on_demand_fallback=True)
    assert result.success, result.error
    assert aws.jobs["scarce"].secondary == "MaxWaitTimeExceeded"
    assert result.metadata["sagemaker_job"] == "scarce-2"
    assert result.metadata["spot"] is False


def test_no_capacity_at_all_says_what_to_do(aws: SageMakerOnMoto) -> None:
    aws.settings.without_capacity = 1
    result = train(params(aws, {"does": "report"}), "none-left")
    assert "CapacityError" in result.error
    assert "another instance type" in result.error


def test_a_quota_of_zero_says_what_to_ask_for(aws: SageMakerOnMoto) -> None:
    aws.faults.quotas[f"{INSTANCE} for training job usage"] = 0
    result = train(params(aws, {"does": "report"}), "no-quota")
    assert "'ml.g5.xlarge for training job usage' is 0 Instances" in result.error
    assert "console of Service Quotas" in result.error
    assert "us-east-1" in result.error
    assert "no-quota" not in aws.jobs


def test_throttling_loses_nothing(aws: SageMakerOnMoto) -> None:
    aws.faults.fail("CreateTrainingJob", "ThrottlingException", "Rate exceeded", times=2)
    aws.faults.fail("DescribeTrainingJob", "ThrottlingException", "Rate exceeded", times=3)
    aws.faults.fail("ListObjectsV2", "SlowDown", "Please reduce your request rate.", status=503, times=2)
    result = train(params(aws, {"does": "report"}), "throttled")
    assert result.success, result.error
    assert sum("Rate exceeded" in line and "Trying again" in line for line in result.lines) == 5
    assert aws.jobs["throttled"].containers == 1


def test_a_lost_answer_to_the_creation_starts_one_job(aws: SageMakerOnMoto) -> None:
    aws.faults.fail("CreateTrainingJob", "InternalFailure", status=500, late=True)
    result = train(params(aws, {"does": "report"}), "lost-answer")
    assert result.success, result.error
    assert aws.faults.count("CreateTrainingJob") >= 2
    assert aws.jobs["lost-answer"].containers == 1
    assert "lost-answer-2" not in aws.jobs


def test_a_long_variable_arrives_whole(aws: SageMakerOnMoto) -> None:
    long = "".join(chr(33 + i % 90) for i in range(1500))
    request = params(aws, {"does": "report variables", "names": [NAME, "SHORT"]})
    request["Environment"] |= {NAME: long, "SHORT": "s"}
    result = train(request, "long-variable")
    assert result.success, result.error
    assert result.metadata == {**result.metadata, NAME: long, "SHORT": "s"}
    assert NAME not in aws.jobs["long-variable"].request["Environment"]


def test_a_long_name_is_cut_and_still_its_own(aws: SageMakerOnMoto) -> None:
    one, other = (train(params(aws, {"does": "report"}), f"run/{'x' * 80}/{i}") for i in "ab")
    assert one.success, one.error
    names = one.metadata["sagemaker_job"], other.metadata["sagemaker_job"]
    assert names[0] != names[1]
    assert all(len(name) <= 60 for name in names)


def test_a_completed_job_is_read_and_a_failed_one_followed(aws: SageMakerOnMoto) -> None:
    request = params(aws, {"does": "report"})
    first, second = train(request, "again"), train(request, "again")
    assert first.success
    assert second.success
    assert second.metadata["sagemaker_job"] == "again"
    assert not train(params(aws, {"does": "fail"}), "broken").success
    mended = train(params(aws, {"does": "report"}), "broken")
    assert mended.metadata["sagemaker_job"] == "broken-2"


def test_a_wrong_clock_stops_the_start(aws: SageMakerOnMoto) -> None:
    aws.faults.skew_s = 3600
    result = train(params_before_skew(aws), "skewed")
    assert "clock differs from AWS's" in result.error
    assert "timedatectl" in result.error
    assert "skewed" not in aws.jobs


def params_before_skew(aws: SageMakerOnMoto) -> dict[str, Any]:
    skew, aws.faults.skew_s = aws.faults.skew_s, 0.0
    request = params(aws, {"does": "report"})
    aws.faults.skew_s = skew
    return request


def test_a_clock_that_is_mended_in_time_costs_nothing(aws: SageMakerOnMoto) -> None:
    aws.settings.starting.clear()  # the container's clock is right: it begins when this one is
    was_wrong = False

    def sleep(seconds: float) -> None:
        nonlocal was_wrong
        time.sleep(seconds)
        if aws.faults.skew_s:
            aws.faults.skew_s = 0.0
            aws.settings.starting.set()
        elif not was_wrong and any(c.operation == "CreateTrainingJob" for c in aws.faults.calls):
            was_wrong, aws.faults.skew_s = True, 3600

    result = train(params(aws, {"does": "report"}), "mended", {"sleep": sleep})
    assert result.success, result.error
    assert any("clock differs" in line for line in result.lines)


def test_renewed_credentials_are_taken_up(aws: SageMakerOnMoto, monkeypatch: pytest.MonkeyPatch) -> None:
    def expire() -> None:
        aws.faults.expired.add("AKIACLIENT")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIARENEWED")
        aws.client("s3").put_object(Bucket=BUCKET, Key="renewed", Body=b"")

    sleep = when(aws, "renewed", "Training", expire)
    result = train(params(aws, {**PAUSED, "gate": "renewed"}), "renewed", {"sleep": sleep})
    assert result.success, result.error
    assert any("AWS credentials have expired" in line for line in result.lines)
    assert any(c.access_key == "AKIARENEWED" and c.operation == "DescribeTrainingJob" for c in aws.faults.calls)


def test_credentials_that_stay_expired_leave_the_job_and_say_how_to_take_it_up(aws: SageMakerOnMoto) -> None:
    sleep = when(aws, "expired", "Training", lambda: aws.faults.expired.add("AKIACLIENT"))
    request = params(aws, {**PAUSED, "gate": "taken-up"})
    result = train(request, "expired", {"sleep": sleep, "short_patience": 1.0})
    assert not result.success
    assert "goes on by itself" in result.error
    assert "Re-execute this run from the failed step" in result.error
    assert "stop-training-job --training-job-name expired" in result.error
    assert aws.jobs["expired"].status == "InProgress"
    aws.faults.expired.clear()
    aws.client("s3").put_object(Bucket=BUCKET, Key="taken-up", Body=b"")
    again = train(request, "expired")
    assert again.success, again.error
    assert aws.jobs["expired"].containers == 1
    assert "expired-2" not in aws.jobs


KILLED_RUN = f"""
import json, sys
from carsdepo_assets_tests.compute.sagemaker_cases import train
train(json.loads(sys.argv[1]), "outlives", {QUICK!r})
"""


def test_a_job_outlives_the_runs_process_and_is_taken_up(aws: SageMakerOnMoto) -> None:
    import json

    request = params(aws, {**PAUSED, "gate": "outlives"})
    run = subprocess.Popen(
        [sys.executable, "-c", KILLED_RUN, json.dumps(request)], env={**os.environ, **aws.variables()}
    )
    try:
        aws.job("outlives", "Training")
    finally:
        run.send_signal(signal.SIGKILL)
        run.wait()
    assert aws.jobs["outlives"].status == "InProgress"
    aws.client("s3").put_object(Bucket=BUCKET, Key="outlives", Body=b"")
    result = train(request, "outlives")
    assert result.success, result.error
    assert result.metadata["epochs"] == 3
    assert aws.jobs["outlives"].containers == 1  # trained once
    assert any("epoch 1" in line for line in result.lines)  # its messages from the beginning
    assert WORKER in aws.jobs["outlives"].request["HyperParameters"]["module"]


def test_a_report_that_cannot_be_used_fails_the_job_and_the_next_try_is_a_job_of_its_own(aws: SageMakerOnMoto) -> None:
    lines = [
        {"__dagster_pipes_version": "0.1", "method": method, "params": parameters}
        for method, parameters in [("opened", {}), ("report_asset_materialization", {"asset_key": 5}), ("closed", {})]
    ]
    body = "\n".join(map(json.dumps, lines)).encode()
    aws.client("s3").put_object(Bucket=BUCKET, Key="pipes/unusable/messages/a/1.json", Body=body)
    result = train(params(aws, {"does": "leave"}), "unusable")
    assert "what it reported cannot be used (TypeError" in result.error
    assert "goes on by itself" not in result.error
    assert train(params(aws, {"does": "report"}), "unusable").success
    assert aws.jobs["unusable-2"].status == "Completed"


@pytest.fixture
def _pythons_interrupt() -> Iterator[None]:
    """Ctrl-C raises KeyboardInterrupt in this test, whatever handler another test or library has left."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, signal.default_int_handler if before is None else before)


@pytest.mark.usefixtures("_pythons_interrupt")
def test_a_second_cancellation_does_not_leave_the_job_to_itself(aws: SageMakerOnMoto) -> None:
    interrupted = threading.Event()

    def interrupt() -> None:
        interrupted.set()
        raise DagsterExecutionInterruptedError

    first = when(aws, "twice", "Training", interrupt)

    def sleep(seconds: float) -> None:
        if interrupted.is_set():
            signal.raise_signal(signal.SIGINT)  # to this thread: another may get one of the process
        first(seconds)

    result = train(params(aws, PAUSED), "twice", {"sleep": sleep})
    assert not result.success
    assert any("The training job twice is Stopped" in line for line in result.lines)


def test_the_workers_own_words_get_no_advice_about_images() -> None:
    own = "AlgorithmError: recipe.image_size: Input should be greater than 0, exit code: 2"
    assert reason_with_advice(own) == own
    assert "ECR" in reason_with_advice("ClientError: Cannot pull image x")
