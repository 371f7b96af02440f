"""deploy/emulators: the emulated endpoints refuse what AWS refuses, and say which of moto's internals moved."""

from __future__ import annotations

import json

import pytest
from botocore.exceptions import ClientError

from carsdepo_assets_tests.release.sagemaker_world import SageMakerWorld, pretending_aws, sagemaker
from deploy.emulators import sagemaker_endpoints

__all__ = ["pretending_aws", "sagemaker"]


def test_motos_internals_are_where_the_endpoints_expect_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """The canary: a new moto fails here first, and the message names what moved. It looks before an emulator runs."""
    assert sagemaker_endpoints.internals() == []
    from moto.sagemaker.models import SageMakerModelBackend

    monkeypatch.delattr(SageMakerModelBackend, "describe_endpoint_config")
    assert "describe_endpoint_config is not there" in " ".join(sagemaker_endpoints.internals())


def test_what_exists_is_not_made_twice_and_what_does_not_is_told(sagemaker: SageMakerWorld) -> None:
    sagemaker.say("promote", sagemaker.model("one"))
    sagemaker.until("serving")
    client, name = sagemaker.aws.client("sagemaker"), sagemaker.made()["models"][0]
    container = {"Image": "image", "ModelDataUrl": "s3://carsdepo/nothing"}
    role = "arn:aws:iam::123456789012:role/a"
    with pytest.raises(ClientError, match="already existing model"):
        client.create_model(ModelName=name, PrimaryContainer=container, ExecutionRoleArn=role)
    with pytest.raises(ClientError, match="Could not find model data"):
        client.create_model(ModelName="new", PrimaryContainer=container, ExecutionRoleArn=role)
    with pytest.raises(ClientError, match="already existing endpoint"):
        client.create_endpoint(EndpointName="carsdepo-production", EndpointConfigName=name)
    with pytest.raises(ClientError, match="Could not find endpoint"):
        client.describe_endpoint(EndpointName="nobodys")
    with pytest.raises(ClientError, match="less than or equal to 63"):
        client.describe_endpoint(EndpointName="x" * 64)


def test_an_endpoint_in_change_is_neither_changed_nor_deleted_nor_asked(sagemaker: SageMakerWorld) -> None:
    sagemaker.aws.stays = {"Creating"}
    sagemaker.say("promote", sagemaker.model("one"))
    sagemaker.follower().look("production")
    client, (name,) = sagemaker.aws.client("sagemaker"), sagemaker.made()["configs"]
    with pytest.raises(ClientError, match="in-progress"):
        client.update_endpoint(EndpointName="carsdepo-production", EndpointConfigName=name)
    with pytest.raises(ClientError, match="in-progress"):
        client.delete_endpoint(EndpointName="carsdepo-production")
    with pytest.raises(ClientError, match="not found"):
        sagemaker.aws.client("sagemaker-runtime").invoke_endpoint(EndpointName="carsdepo-production", Body=b"a")


def test_events_reach_a_queue_as_eventbridge_sends_them(sagemaker: SageMakerWorld) -> None:
    sqs = sagemaker.aws.client("sqs")
    sagemaker.aws.queue_url = sqs.create_queue(QueueName="models")["QueueUrl"]
    sagemaker.say("promote", sagemaker.model("one"))
    sagemaker.until("serving")
    messages = sqs.receive_message(QueueUrl=sagemaker.aws.queue_url, MaxNumberOfMessages=10)["Messages"]
    events = [json.loads(message["Body"]) for message in messages]
    assert {e["source"] for e in events} == {"aws.sagemaker"}
    states = [e["detail"].get("EndpointStatus") for e in events if "Endpoint" in e["detail-type"]]
    assert sorted(states) == ["CREATING", "IN_SERVICE"]
