"""compute/pipes/aws_calls.py and the client's pace: what is tried again, for how long, and how often AWS is asked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import dagster as dg
import pytest
from botocore import exceptions

from carsdepo_assets.compute.pipes.aws_calls import AwsClients, CallFailed, PatientCalls
from carsdepo_assets.compute.pipes.sagemaker_training import PipesSageMakerTrainingClient


class Time:
    """A clock that only sleeping moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def clock(self) -> float:
        return self.now


def error(code: str, message: str = "", status: int = 400) -> exceptions.ClientError:
    metadata = {"HTTPStatusCode": status, "HTTPHeaders": {"date": "Thu, 26 Nov 2026 12:00:00 GMT"}}
    return exceptions.ClientError({"Error": {"Code": code, "Message": message}, "ResponseMetadata": metadata}, "Op")  # type: ignore[arg-type]


def failing(*errors: Exception) -> Callable[[], str]:
    left = list(errors)

    def call() -> str:
        if left:
            raise left.pop(0)
        return "answer"

    return call


def calls(time: Time, lines: list[str], clients: AwsClients | None = None) -> PatientCalls:
    return PatientCalls(clients or AwsClients(), lines.append, 5.0, 3600.0, 300.0, time.sleep, time.clock)


def test_throttling_is_waited_out_with_growing_pauses() -> None:
    time, lines = Time(), list[str]()
    assert calls(time, lines)("look", failing(*[error("ThrottlingException")] * 8)) == "answer"
    assert 5 + 10 + 20 + 40 + 60 * 4 <= time.now - 1000 <= 1.2 * (5 + 10 + 20 + 40 + 60 * 4)
    assert len(lines) == 9
    assert lines[-1] == "AWS answers again, at try 9: look."
    with pytest.raises(CallFailed, match="Could not look"):
        calls(time, lines)("look", failing(*[error("ThrottlingException")] * 1000))


def test_a_refusal_is_final_and_our_own_errors_pass() -> None:
    time = Time()
    with pytest.raises(CallFailed, match="no access") as caught:
        calls(time, [])("look", failing(error("AccessDeniedException", "no access")))
    assert (caught.value.trouble, caught.value.code, time.now) == ("refused", "AccessDeniedException", 1000.0)
    with pytest.raises(ValueError, match="ours"):
        calls(time, [])("look", failing(ValueError("ours")))


def test_a_clock_gets_five_minutes_while_a_job_runs_and_none_at_its_start() -> None:
    time = Time()
    with pytest.raises(CallFailed, match=r"clock differs from AWS's: AWS has Thu, 26 Nov 2026 12:00:00 GMT"):
        calls(time, [])("look", failing(*[error("RequestTimeTooSkewed")] * 99))
    assert 200 < time.now - 1000 <= 360
    before = time.now
    with pytest.raises(CallFailed):
        calls(time, [])("look", failing(error("RequestTimeTooSkewed")), at_once=True)
    assert time.now == before


def test_refused_credentials_are_read_anew_at_each_try() -> None:
    sessions = []

    class Session:
        def client(self, service: str, config: Any) -> str:
            return f"{service} {len(sessions)}"

    clients = AwsClients(lambda: sessions.append(1) or Session())
    assert clients["s3"] == "s3 1"
    assert clients["s3"] == "s3 1"
    calls(Time(), [], clients)("look", failing(error("ExpiredToken"), error("ExpiredToken")))
    assert clients["s3"] == "s3 2"
    given = AwsClients(lambda: Session(), clients={"s3": "given"})
    given.renew()
    assert given["s3"] == "given"


class Scripted:
    """A SageMaker that describes a job as running for so many seconds, and notes when it is asked."""

    def __init__(self, time: Time, runs_s: float) -> None:
        self.time, self.ends = time, time.now + runs_s
        self.asked: list[float] = []
        self.meta = type("Meta", (), {"region_name": "eu-central-1"})

    def create_training_job(self, **request: Any) -> None:
        self.created = True

    def describe_training_job(self, TrainingJobName: str) -> dict[str, Any]:
        self.asked.append(self.time.now)
        if not hasattr(self, "created"):
            raise error("ValidationException", "Requested resource not found.")
        over = self.time.now >= self.ends
        return {"TrainingJobStatus": "Completed" if over else "InProgress", "SecondaryStatus": "Training"}


class Empty:
    """An S3 without messages."""

    def put_object(self, **request: Any) -> None:
        self.kept = request

    def get_paginator(self, name: str) -> Empty:
        return self

    def paginate(self, **request: Any) -> list[dict[str, Any]]:
        return [{}]


def test_sagemaker_is_asked_at_most_once_in_5_s_and_ever_less_often() -> None:
    time = Time()
    sagemaker = Scripted(time, 3600)

    @dg.asset
    def model(context):  # type: ignore[no-untyped-def]
        client = PipesSageMakerTrainingClient(
            "bucket", client=sagemaker, s3_client=Empty(), sleep=time.sleep, clock=time.clock
        )
        return client.run(context=context, job_name="slow", create_training_job_params={}).get_materialize_result()

    result = dg.materialize([model], raise_on_error=False)
    assert not result.success  # it reported nothing
    pauses = [b - a for a, b in zip(sagemaker.asked, sagemaker.asked[1:], strict=False)]
    assert min(pauses) >= 5.0
    assert max(pauses) <= 35.0
    assert len(sagemaker.asked) < 3600 / 30 + 12
