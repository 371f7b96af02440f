"""commands/doctor_aws.py: what an account lacks is found with its remedy, on moto and a server of our own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError, EndpointConnectionError
from moto import mock_aws

from carsdepo_assets.commands.doctor import examine
from carsdepo_assets.commands.doctor_aws import examine_account, mlflow_server
from carsdepo_assets.commands.findings import Finding
from carsdepo_assets.settings import Settings
from carsdepo_assets_tests.aws_account import account, nowhere, without_aws

REGION = "eu-west-1"
TOPIC = f"arn:aws:sns:{REGION}:123456789012:carsdepo-alerts"
AWS = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing", "AWS_DEFAULT_REGION": REGION}


@pytest.fixture
def mlflow() -> Iterator[Callable[[int], str]]:
    """The URL of a server that answers with a status."""
    statuses: list[int] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(statuses[-1] if self.path == "/health" else 404)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            return None

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()

    def answering(status: int) -> str:
        statuses.append(status)
        return f"http://user:s3cret-word@127.0.0.1:{server.server_address[1]}"

    yield answering
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="module")
def on_moto() -> Iterator[None]:
    """An account on moto in which nothing is missing; one for all tests, since making it takes a second."""
    with pytest.MonkeyPatch.context() as patch, mock_aws():
        without_aws(patch, AWS)
        s3, sns = boto3.client("s3"), boto3.client("sns")
        for name in ("carsdepo-lake", "carsdepo-jobs"):
            s3.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": REGION})
        s3.put_bucket_versioning(Bucket="carsdepo-lake", VersioningConfiguration={"Status": "Enabled"})
        sns.create_topic(Name="carsdepo-alerts")
        sns.subscribe(TopicArn=TOPIC, Protocol="sqs", Endpoint=f"arn:aws:sqs:{REGION}:123456789012:pager")
        yield


@pytest.fixture
def installation(
    on_moto: None, tmp_path: Path, mlflow: Callable[[int], str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Settings]:
    """The settings of an installation in that account, with changes; status: of the MLflow server's answers."""
    without_aws(monkeypatch, nowhere(tmp_path) | AWS)
    keys = {f"CARSDEPO_{name}_KEY": str(tmp_path / f"{name}.pem") for name in ("SIGNING", "VERIFICATION")}
    for path in keys.values():
        Path(path).write_text("a key")

    def read(status: int = 200, **changes: str) -> Settings:
        given = {"CARSDEPO_MLFLOW": mlflow(status), "CARSDEPO_ALERT_TOPIC": TOPIC, **keys, **changes}
        return Settings.read(account(tmp_path, **given))

    return read


def found_in(settings: Settings) -> dict[str, Finding]:
    return {finding.what: finding for finding in examine_account(settings)}


def test_where_nothing_is_missing_everything_is_named(installation: Callable[..., Settings]) -> None:
    findings = found_in(installation())
    assert {what for what, finding in findings.items() if not finding.ok} == set()
    assert findings["AWS"].value.endswith(f", {REGION}")
    assert findings["the lake's bucket"].value == f"carsdepo-lake in {REGION}, with versioning"
    assert findings["the bucket of messages"].value == f"carsdepo-jobs in {REGION}"
    assert findings["the topic of alerts"].value == "carsdepo-alerts with 1 confirmed subscriptions"
    assert findings["metrics"].value == "lines on stdout, namespace Carsdepo"


@pytest.mark.parametrize(
    ("changes", "what", "value", "advice"),
    [
        ({"CARSDEPO_LAKE": "s3://gone/lake"}, "the lake's bucket", "gone is not there", "correct CARSDEPO_LAKE"),
        ({"CARSDEPO_LAKE": "s3://carsdepo-jobs/x"}, "the lake's bucket", "never switched on", "put-bucket-versioning"),
        ({"CARSDEPO_PIPES_BUCKET": "gone"}, "the bucket of messages", "is not there", "correct CARSDEPO_PIPES_BUCKET"),
        ({"CARSDEPO_ALERT_TOPIC": TOPIC + "-gone"}, "the topic of alerts", "is not there", "CARSDEPO_ALERT_TOPIC"),
        ({"CARSDEPO_MLFLOW": "http://127.0.0.1:1"}, "the MLflow server", "does not answer", "CARSDEPO_MLFLOW"),
        ({"status": 403}, "the MLflow server", "answers 403", "--allowed-hosts"),
        ({"status": 401}, "the MLflow server", "answers 401", "user and password"),
        ({"status": 503}, "the MLflow server", "answers 503", "See its log"),
        ({"CARSDEPO_SIGNING_KEY": ""}, "the key that signs models", "is not there", "CARSDEPO_SIGNING_KEY"),
    ],
)
def test_what_is_missing_is_found_with_its_remedy(
    changes: dict[str, Any], what: str, value: str, advice: str, installation: Callable[..., Settings]
) -> None:
    findings = found_in(installation(**changes))
    assert {name for name, finding in findings.items() if not finding.ok} == {what}
    assert value in findings[what].value
    assert advice in findings[what].advice
    assert "s3cret-word" not in str(findings)


def test_a_topic_without_subscribers_reaches_nobody(installation: Callable[..., Settings]) -> None:
    quiet = boto3.client("sns").create_topic(Name="quiet")["TopicArn"]
    finding = found_in(installation(CARSDEPO_ALERT_TOPIC=quiet))["the topic of alerts"]
    assert not finding.ok
    assert "subscribe somebody" in finding.advice


def test_a_bucket_of_another_region_is_named(
    installation: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = installation()
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-2")
    finding = found_in(settings)["the bucket of messages"]
    assert finding.value == f"carsdepo-jobs is in {REGION}, this process in us-east-2"
    assert f"set AWS_DEFAULT_REGION to {REGION}" in finding.advice


@pytest.mark.parametrize(
    ("error", "value", "advice"),
    [
        (ClientError({"Error": {"Code": "403"}}, "HeadBucket"), "refuses this role", "Give the role access"),
        (ClientError({"Error": {"Code": "ExpiredToken"}}, "HeadBucket"), "could not be looked at", "have expired"),
        (EndpointConnectionError(endpoint_url="https://s3"), "could not be looked at", "AWS could not be reached"),
    ],
)
def test_a_refusal_and_silence_are_told(
    error: Exception, value: str, advice: str, installation: Callable[..., Settings]
) -> None:
    class Refusing:
        def head_bucket(self, **given: str) -> None:
            raise error

    findings = examine_account(
        installation(), lambda service, *region: Refusing() if service == "s3" else boto3.client(service, *region)
    )
    for finding in findings:
        if "bucket" in finding.what:
            assert value in finding.value
            assert advice in finding.advice


def test_without_credentials_the_doctor_says_so_and_looks_at_the_rest(
    installation: Callable[..., Settings], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = installation()
    without_aws(monkeypatch, nowhere(tmp_path))
    monkeypatch.setattr("carsdepo_assets.lake.aws_access._settled", set())
    findings = found_in(settings)
    assert "This process has no AWS credentials" in findings["AWS"].advice
    assert "knows no AWS region" in findings["AWS"].advice
    assert findings["the MLflow server"].ok


@pytest.mark.slow
def test_the_doctor_of_an_account_looks_at_it(installation: Callable[..., Settings]) -> None:
    findings = {finding.what: finding for finding in examine(installation())}
    assert findings["the lake's bucket"].ok
    assert findings["where jobs run"].ok


def test_an_address_that_names_no_server_of_mlflow_is_a_finding(tmp_path: Path) -> None:
    finding = mlflow_server(Settings.read({"CARSDEPO_MLFLOW": "http://mlflow:port"}, home=tmp_path))
    assert (finding.value, finding.ok) == ("http://mlflow:port does not answer (InvalidURL)", False)


@pytest.mark.slow
@pytest.mark.parametrize(("status", "is_well"), [(200, True), (503, False)])
def test_a_server_of_mlflow_is_looked_at_without_an_account_too(
    status: int, is_well: bool, mlflow: Callable[[int], str], tmp_path: Path
) -> None:
    settings = Settings.read({"CARSDEPO_MLFLOW": mlflow(status)}, home=tmp_path)
    findings = {finding.what: finding for finding in examine(settings)}
    assert findings["the MLflow server"].ok is is_well
    assert "the lake's bucket" not in findings
    alone = {finding.what for finding in examine(Settings.read({}, home=tmp_path))}
    assert "the MLflow server" not in alone
    own_port = "port 5000 (MLflow)"  # of the server that `carsdepo dev` starts where none is elsewhere
    assert own_port in alone
    assert own_port not in findings
