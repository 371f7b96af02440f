"""The checks of `carsdepo doctor` for an installation in an AWS account: what it asks of AWS, from where it runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from carsdepo_assets.commands.findings import Finding
from carsdepo_assets.compute.pipes.aws_errors import code_of, explained, trouble_of
from carsdepo_assets.lake.aws_access import AwsNotReady, region_name, require_access
from carsdepo_assets.settings import Settings
from carsdepo_assets.settings_aws import topic_place
from carsdepo_assets.settings_variables import plain

Client = Callable[..., Any]
_TIMEOUT_S = 5.0
_LAKE, _MESSAGES = "the lake's bucket", "the bucket of messages"
_VERSIONING = "aws s3api put-bucket-versioning --versioning-configuration Status=Enabled --bucket"


def examine_account(settings: Settings, client: Client | None = None) -> list[Finding]:
    """Looks at everything that the settings name.

    Args:
        settings: of an installation in an AWS account.
        client: makes a boto3 client of a service; None: by AWS's own chains.

    Returns:
        One finding for each thing. Without credentials or a region there is that finding, and those that need none.
    """
    findings = [mlflow_server(settings), *_keys(settings)]
    try:
        require_access(region=True)
    except AwsNotReady as error:
        return [Finding("AWS", "cannot be asked", False, str(error)), *findings]
    ask = client or _client()
    return [
        _look("AWS", lambda: _identity(ask)),
        _look(_LAKE, lambda: _lake(settings, ask)),
        _look(_MESSAGES, lambda: _bucket(_MESSAGES, str(settings.pipes_bucket), "CARSDEPO_PIPES_BUCKET", ask)),
        _look("the topic of alerts", lambda: _topic(settings, ask)),
        Finding("metrics", f"lines on stdout, namespace {settings.metrics_namespace}", True),
        *findings,
    ]


def _client() -> Client:
    import boto3
    from botocore.config import Config  # type: ignore[import-untyped]

    config = Config(
        connect_timeout=_TIMEOUT_S, read_timeout=_TIMEOUT_S, retries={"mode": "standard", "total_max_attempts": 2}
    )

    def make(service: str, region: str | None = None) -> Any:
        return boto3.client(service, region_name=region or region_name(), config=config)

    return make


def _look(what: str, look: Callable[[], Finding]) -> Finding:
    """What a look found; an error of AWS, or of the way to it, is a finding too."""
    try:
        return look()
    except Exception as error:
        if trouble_of(error) is None:
            raise
        return Finding(what, "could not be looked at", False, explained(error))


def _identity(ask: Client) -> Finding:
    arn = str(ask("sts").get_caller_identity()["Arn"])
    return Finding("AWS", f"{arn}, {region_name()}", True)


def _bucket(what: str, name: str, variable: str, ask: Client) -> Finding:
    region = region_name()
    try:
        headers = ask("s3").head_bucket(Bucket=name)["ResponseMetadata"]["HTTPHeaders"]
    except Exception as error:
        code = code_of(error)
        if code in ("404", "NoSuchBucket"):
            return Finding(what, f"{name} is not there", False, f"Make it in {region}, or correct {variable}.")
        if code in ("403", "AccessDenied"):
            return Finding(what, f"{name} refuses this role", False, f"Give the role access, or correct {variable}.")
        raise
    there = headers.get("x-amz-bucket-region", region)
    if there != region:
        advice = f"Use a bucket in {region}, or set AWS_DEFAULT_REGION to {there}: traffic between regions is paid for."
        return Finding(what, f"{name} is in {there}, this process in {region}", False, advice)
    return Finding(what, f"{name} in {there}", True)


def _lake(settings: Settings, ask: Client) -> Finding:
    name = settings.lake.removeprefix("s3://").partition("/")[0]
    reached = _bucket(_LAKE, name, "CARSDEPO_LAKE", ask)
    if not reached.ok:
        return reached
    status = ask("s3").get_bucket_versioning(Bucket=name).get("Status", "never switched on")
    if status != "Enabled":
        advice = f"What is deleted or overwritten by mistake is lost without it: {_VERSIONING} {name}"
        return Finding(reached.what, f"{reached.value}, versioning: {status}", False, advice)
    return Finding(reached.what, f"{reached.value}, with versioning", True)


def _topic(settings: Settings, ask: Client) -> Finding:
    what = "the topic of alerts"
    if settings.alert_topic is None:
        return Finding(what, "none", True, "Optional: set CARSDEPO_ALERT_TOPIC to the ARN of an SNS topic.")
    region, name = topic_place(settings.alert_topic)
    try:
        pages = ask("sns", region).get_paginator("list_subscriptions_by_topic").paginate(TopicArn=settings.alert_topic)
        subscribed = sum(one["SubscriptionArn"].startswith("arn:") for page in pages for one in page["Subscriptions"])
    except Exception as error:
        if code_of(error) not in ("NotFound", "NotFoundException"):
            raise
        return Finding(what, f"{name} is not there", False, f"Make it in {region}, or correct CARSDEPO_ALERT_TOPIC.")
    value = f"{name} with {subscribed} confirmed subscriptions"
    return Finding(what, value, subscribed > 0, "Nobody gets the alerts: subscribe somebody, who confirms it.")


def mlflow_server(settings: Settings) -> Finding:
    """Whether the server that CARSDEPO_MLFLOW names answers, in an account or elsewhere."""
    from carsdepo_assets.redaction import redact
    from carsdepo_assets.registry.tracking import server_health

    what, shown = "the MLflow server", redact(settings.mlflow_for_people)
    answer = server_health(str(plain(settings.mlflow_server)))
    if isinstance(answer, str):
        advice = "Start it, or correct CARSDEPO_MLFLOW; in an account its security group must let this process in."
        return Finding(what, f"{shown} does not answer ({answer})", False, advice)
    if answer == 200:
        return Finding(what, f"{shown} answers", True)
    advice = {
        401: "CARSDEPO_MLFLOW has no user and password, or wrong ones.",
        403: "It does not know itself by this name: start it with --allowed-hosts.",
    }.get(answer, "See its log.")
    return Finding(what, f"{shown} answers {answer}", False, advice)


def _keys(settings: Settings) -> Iterator[Finding]:
    for what, path, variable in (
        ("the key that signs models", settings.signing_key, "CARSDEPO_SIGNING_KEY"),
        ("the key that verifies models", settings.verification_key, "CARSDEPO_VERIFICATION_KEY"),
    ):
        advice = f"Each task would make its own: put the file where it outlives a task, and let {variable} name it."
        is_kept = path.is_file() and not path.is_relative_to(settings.home)
        value = str(path) if path.is_file() else f"{path} is not there"
        yield Finding(what, value, is_kept, advice)
