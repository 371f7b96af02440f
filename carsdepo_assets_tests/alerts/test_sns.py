"""alerts/sns.py: what reaches a topic's subscribers, SNS's limits, and failures in words (on moto)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.awsrequest import AWSResponse
from botocore.exceptions import ClientError, EndpointConnectionError
from moto import mock_aws

from carsdepo_assets.alerts import sns
from carsdepo_assets.alerts.alerting import send
from carsdepo_assets.alerts.channels import Alert, ChannelError, Log
from carsdepo_assets.alerts.resources import AlertsResource
from carsdepo_assets.alerts.sns import MOST_BYTES, SUBJECT, Sns, request, subject
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.policy import Policy

TOPIC = "arn:aws:sns:eu-west-1:123456789012:carsdepo-alerts"
DRIFT = Alert("drift", "drift:1", "critical", "Night photographs ☾", "22 % of <traffic> changed.\nSee the report.")


@pytest.fixture
def queue(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A queue that is subscribed to the topic, with what comes of severity critical."""
    for name, value in (("AWS_ACCESS_KEY_ID", "testing"), ("AWS_SECRET_ACCESS_KEY", "testing")):
        monkeypatch.setenv(name, value)
    for name in ("AWS_DEFAULT_REGION", "AWS_REGION"):  # the topic's ARN names the region
        monkeypatch.delenv(name, raising=False)
    with mock_aws():
        topic = boto3.client("sns", "eu-west-1").create_topic(Name="carsdepo-alerts")["TopicArn"]
        assert topic == TOPIC
        url = boto3.client("sqs", "eu-west-1").create_queue(QueueName="pager")["QueueUrl"]
        boto3.client("sns", "eu-west-1").subscribe(
            TopicArn=TOPIC,
            Protocol="sqs",
            Endpoint="arn:aws:sqs:eu-west-1:123456789012:pager",
            Attributes={"FilterPolicy": json.dumps({"severity": ["critical"]})},
        )
        yield lambda: [
            json.loads(m["Body"])
            for m in boto3.client("sqs", "eu-west-1")
            .receive_message(QueueUrl=url, MaxNumberOfMessages=10)
            .get("Messages", [])
        ]


def test_an_alert_arrives_whole_and_can_be_filtered(queue: Any) -> None:
    Sns(TOPIC).deliver(DRIFT)
    Sns(TOPIC).deliver(Alert("release", "r", "info", "Staging serves version 2", "It does."))
    [message] = queue()
    assert json.loads(message["Message"]) == DRIFT.fields()
    assert message["Subject"] == "[critical] Night photographs ?"
    assert {k: v["Value"] for k, v in message["MessageAttributes"].items()} == {"severity": "critical", "kind": "drift"}


def test_the_resource_sends_to_the_topic_beside_the_log(queue: Any, lake: Lake) -> None:
    assert AlertsResource(topic=TOPIC).send(lake, Policy(), **DRIFT.fields())
    assert lake.read("alerts")["sent"].to_pylist() == [["log", "sns:carsdepo-alerts"]]
    assert len(queue()) == 1


@pytest.mark.parametrize(
    ("title", "line"),
    [
        ("Zürich: drift", "[critical] Zurich: drift"),
        ("two\nlines\tand a tab", "[critical] two lines and a tab"),
        ("車", "[critical] ?"),
        ("", "[critical]"),
        ("\x07bell", "[critical] ?bell"),
    ],
)
def test_a_subject_is_one_line_of_ascii(title: str, line: str) -> None:
    assert subject(Alert("drift", "k", "critical", title, "")) == line


@pytest.mark.parametrize("length", [SUBJECT - 11, SUBJECT - 10, 5000])
def test_a_subject_has_less_than_100_characters(length: int) -> None:
    line = subject(Alert("drift", "k", "critical", "x" * length, ""))
    assert len(line) == SUBJECT
    assert line.endswith("...") == (length > SUBJECT - 11)


@pytest.mark.parametrize("sign", ["a", "ü", "☾", '"', "\n", "\x00", "\ud800"])
def test_a_body_beyond_the_limit_is_cut_and_says_so(sign: str) -> None:
    alert = Alert("drift", "k", "info", "t" * 3000, sign * 300_000)
    given = request(alert)
    texts = json.loads(given["Message"])
    assert MOST_BYTES - 40 <= len(given["Message"].encode()) <= MOST_BYTES
    assert json.loads(texts["default"])["body"].endswith("(cut: SNS takes no more)")
    assert texts["email"].endswith("(cut: SNS takes no more)")
    assert len(texts["sms"].encode()) <= 140


def test_a_topic_that_is_not_there_is_a_failed_channel_and_the_others_get_the_alert(queue: Any, lake: Lake) -> None:
    missing = Sns(TOPIC.replace("carsdepo-alerts", "gone"))
    with pytest.raises(ChannelError, match=r"^SNS refused it: NotFound"):
        missing.deliver(DRIFT)
    row = send(lake, Policy(), [Log(), missing], DRIFT)
    assert row is not None
    assert row["sent"] == ["log"]
    assert row["failed"] == ["sns:gone: SNS refused it: NotFound"]


def test_without_credentials_the_reason_is_one_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    monkeypatch.setattr("carsdepo_assets.lake.aws_access._settled", set())
    with pytest.raises(ChannelError, match=r"^This process has no AWS credentials: [^.]*\.$"):
        Sns(TOPIC).deliver(DRIFT)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ClientError({"Error": {"Code": "AuthorizationError"}}, "Publish"), "SNS refused it: AuthorizationError"),
        (EndpointConnectionError(endpoint_url="https://sns"), "SNS did not take it: Could not connect"),
    ],
)
def test_a_refusal_and_silence_are_told(
    error: Exception, reason: str, queue: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Refusing:
        def publish(self, **given: Any) -> None:
            raise error

    monkeypatch.setattr(boto3, "client", lambda *args, **options: Refusing())
    with pytest.raises(ChannelError, match=f"^{reason}"):
        sns.Sns(TOPIC).deliver(DRIFT)


@pytest.mark.parametrize(("statuses", "tries", "arrives"), [([500, 503, 200], 3, True), ([500] * 9, 3, False)])
def test_a_busy_sns_is_asked_three_times(
    statuses: list[int], tries: int, arrives: bool, queue: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    real_client = boto3.client

    def answered(request: Any, **given: Any) -> AWSResponse | None:
        """The answer of a busy SNS; None: moto answers."""
        asked.append(statuses[len(asked)])
        empty = type("Raw", (), {"stream": lambda self: iter([b""])})()
        return None if asked[-1] == 200 else AWSResponse(request.url, asked[-1], {}, empty)

    def client(*names: str, **options: Any) -> Any:
        made = real_client(*names, **options)
        made.meta.events.register_first("before-send.sns.Publish", answered)
        return made

    monkeypatch.setattr(boto3, "client", client)
    monkeypatch.setattr("botocore.retries.standard.ExponentialBackoff.delay_amount", lambda self, context: 0.0)
    if arrives:
        Sns(TOPIC).deliver(DRIFT)
    else:
        with pytest.raises(ChannelError, match="SNS refused it"):
            Sns(TOPIC).deliver(DRIFT)
    assert len(asked) == tries
