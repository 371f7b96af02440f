"""Looks, before a SageMaker job starts, at what it will need: instance type, quota, image, role, bucket.

A job that asks for what is not there fails late, or waits. Each problem says what to ask for and where. Where this
process may not look, that is a warning in the log: the job may still run.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import dagster as dg

from carsdepo_assets.compute.instances import UnknownInstance, hardware, types_of
from carsdepo_assets.compute.pipes.aws_errors import trouble_of

Kind = Literal["training", "processing"]
Client = Callable[[str], Any]
Found = tuple[Literal["problem", "warning"], str]
_ECR = re.compile(
    r"(?P<account>\d{12})\.dkr\.ecr\.(?P<region>[a-z0-9-]+)\.amazonaws\.com(\.cn)?/"
    r"(?P<repository>[^:@]+)(?::(?P<tag>[^@]+))?(?:@(?P<digest>sha256:[0-9a-f]{64}))?"
)
SERVICE = "sagemaker.amazonaws.com"


class JobNotReady(dg.Failure):
    """A job would fail for want of something that has to be asked for first; `description` lists all of it."""


@dataclass(frozen=True)
class Needs:
    """What a job needs."""

    kind: Kind
    instance_type: str
    instances: int
    spot: bool
    warm_pool: bool
    image: str
    role: str
    bucket: str
    region: str

    @property
    def quota(self) -> str:
        """The name of its quota, as the console of Service Quotas shows it."""
        usage = "spot training" if self.spot else self.kind
        return f"{self.instance_type} for {usage} job usage"


def preflight(needs: Needs, client: Client, warn: Callable[[str], None]) -> None:
    """Looks at everything once.

    Args:
        needs: what the job needs.
        client: a boto3 client by the name of its service; for ECR of the image's region, `ecr@REGION`.
        warn: gets a line for each thing that could not be looked at.

    Raises:
        JobNotReady: something is missing.
    """
    problems = []
    for look in (_instance, _quota, _image, _role, _bucket):
        for weight, text in look(needs, client):
            if weight == "problem":
                problems.append(text)
            else:
                warn(f"Before the {needs.kind} job: {text}")
    if problems:
        raise JobNotReady(f"The {needs.kind} job was not started. " + " ".join(problems), allow_retries=False)


def _instance(needs: Needs, client: Client) -> Iterator[Found]:
    if needs.instance_type not in types_of(needs.kind):
        family = needs.instance_type.removeprefix("ml.").partition(".")[0]
        alike = sorted(t for t in types_of(needs.kind) if t.split(".")[1] == family)
        yield (
            "problem",
            f"SageMaker has no instance type {needs.instance_type} for {needs.kind} jobs"
            + (f"; it has {', '.join(alike)}." if alike else ": see the pricing page of Amazon SageMaker."),
        )
        return
    try:
        hardware(needs.instance_type)
    except UnknownInstance as error:
        yield "problem", str(error)
    if needs.warm_pool and needs.spot:
        yield (
            "problem",
            "A warm pool cannot hold spot instances: set keep_alive_s to 0, or spot to false.",
        )


def _quota(needs: Needs, client: Client) -> Iterator[Found]:
    try:
        pages = client("service-quotas").get_paginator("list_service_quotas").paginate(ServiceCode="sagemaker")
        quota = next((q for page in pages for q in page["Quotas"] if q["QuotaName"] == needs.quota), None)
    except Exception as error:
        if trouble_of(error) is None:  # no answer of AWS, nor its absence: a fault of this code
            raise
        yield "warning", f"The quota '{needs.quota}' could not be looked at: {error}"
        return
    if quota is None:
        yield "warning", f"Service Quotas lists no quota '{needs.quota}' in {needs.region}."
    elif quota["Value"] < needs.instances:
        yield (
            "problem",
            f"The account's quota '{needs.quota}' is {quota['Value']:g} in {needs.region}, and the job needs "
            f"{needs.instances}. Ask for more in the console of Service Quotas, service Amazon SageMaker, or with: "
            f"aws service-quotas request-service-quota-increase --service-code sagemaker --quota-code "
            f"{quota['QuotaCode']} --desired-value {needs.instances} --region {needs.region}",
        )


def _image(needs: Needs, client: Client) -> Iterator[Found]:
    parts = _ECR.fullmatch(needs.image)
    if parts is None:
        yield "warning", f"The image {needs.image} is not in ECR, so that it cannot be looked at."
        return
    wanted = {"imageDigest": parts["digest"]} if parts["digest"] else {"imageTag": parts["tag"] or "latest"}
    try:
        client(f"ecr@{parts['region']}").describe_images(
            registryId=parts["account"], repositoryName=parts["repository"], imageIds=[wanted]
        )
    except Exception as error:
        if trouble_of(error) is None:  # no answer of AWS, nor its absence: a fault of this code
            raise
        code = _code(error)
        if code in ("RepositoryNotFoundException", "ImageNotFoundException"):
            yield (
                "problem",
                f"The image {needs.image} is not in ECR ({code}): push it (`make images REGISTRY=...`), or correct "
                "the address, in the configuration of the compute target.",
            )
        else:
            yield "warning", f"The image {needs.image} could not be looked at: {error}"
    if parts["region"] != needs.region:
        yield "warning", f"The image is in {parts['region']} and the job in {needs.region}."


def _role(needs: Needs, client: Client) -> Iterator[Found]:
    name = needs.role.rpartition("/")[2]
    if not re.fullmatch(r"arn:aws[a-z-]*:iam::\d{12}:role/.+", needs.role):
        yield "problem", f"{needs.role!r} is no ARN of a role, such as arn:aws:iam::123456789012:role/{name or 'name'}."
        return
    try:
        trust = client("iam").get_role(RoleName=name)["Role"]["AssumeRolePolicyDocument"]
    except Exception as error:
        if trouble_of(error) is None:  # no answer of AWS, nor its absence: a fault of this code
            raise
        if _code(error) == "NoSuchEntity":
            yield (
                "problem",
                f"There is no role {name}: make it in IAM, trusted by {SERVICE}, with access to the bucket and to ECR.",
            )
        else:
            yield "warning", f"The role {name} could not be looked at: {error}"
        return
    services = [
        service
        for statement in _list(trust.get("Statement", []))
        if statement.get("Effect") == "Allow" and isinstance(statement.get("Principal"), dict)
        for service in _list(statement["Principal"].get("Service", []))
    ]
    if SERVICE not in services:
        yield (
            "problem",
            f"The role {name} does not trust {SERVICE}, but {', '.join(services) or 'no service'}: add it to the "
            "role's trust relationships in IAM (Principal, Service, action sts:AssumeRole).",
        )


def _bucket(needs: Needs, client: Client) -> Iterator[Found]:
    try:
        response = client("s3").head_bucket(Bucket=needs.bucket)
    except Exception as error:
        if trouble_of(error) is None:  # no answer of AWS, nor its absence: a fault of this code
            raise
        response = getattr(error, "response", {})
        if _code(error) in ("404", "NoSuchBucket"):
            yield "problem", f"There is no bucket {needs.bucket}: make it in {needs.region}."
            return
        if _region(response) is None:
            yield "warning", f"The bucket {needs.bucket} could not be looked at: {error}"
            return
    region = _region(response)
    if region is not None and region != needs.region:
        yield (
            "problem",
            f"The bucket {needs.bucket} is in {region} and the jobs run in {needs.region}: SageMaker reads and writes "
            "buckets of its own region. Use another bucket or set the compute target's region.",
        )


def _region(response: dict[str, Any]) -> str | None:
    headers = response.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    return response.get("BucketRegion") or headers.get("x-amz-bucket-region")


def _code(error: Exception) -> str:
    return str(getattr(error, "response", {}).get("Error", {}).get("Code", ""))


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
