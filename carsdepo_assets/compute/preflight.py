"""Looks, before a SageMaker job starts, at what it will need: instance type, quota, image, role, bucket."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from carsdepo_assets.compute.instances import UnknownInstance, hardware, types_of
from carsdepo_assets.compute.pipes.aws_errors import code_of
from carsdepo_assets.compute.preflight_checks import Client, Finding, bucket, image, look_at_all

Kind = Literal["training", "processing"]
SERVICE = "sagemaker.amazonaws.com"


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
        client: makes a boto3 client of a service, as a boto3 session does.
        warn: gets a line for each thing that could not be looked at.

    Raises:
        JobNotReady: something is missing.
    """
    job, or_else = f"{needs.kind} job", "correct `image` of the compute target"
    looks = {
        f"The instance type {needs.instance_type}": lambda: _instance(needs),
        f"The quota '{needs.quota}'": lambda: _quota(needs, client),
        f"The image {needs.image}": lambda: image(needs.image, job, needs.region, or_else, client),
        f"The role {needs.role}": lambda: _role(needs, client),
        f"The bucket {needs.bucket}": lambda: bucket(needs.bucket, job, needs.region, client),
    }
    look_at_all(job, looks, warn)


def _instance(needs: Needs) -> Iterator[Finding]:
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


def _quota(needs: Needs, client: Client) -> Iterator[Finding]:
    pages = client("service-quotas").get_paginator("list_service_quotas").paginate(ServiceCode="sagemaker")
    quota = next((q for page in pages for q in page["Quotas"] if q["QuotaName"] == needs.quota), None)
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


def _role(needs: Needs, client: Client) -> Iterator[Finding]:
    name = needs.role.rpartition("/")[2]
    if not re.fullmatch(r"arn:aws[a-z-]*:iam::\d{12}:role/.+", needs.role):
        yield "problem", f"{needs.role!r} is no ARN of a role, such as arn:aws:iam::123456789012:role/{name or 'name'}."
        return
    try:
        trust = client("iam").get_role(RoleName=name)["Role"]["AssumeRolePolicyDocument"]
    except Exception as error:
        if code_of(error) != "NoSuchEntity":
            raise
        yield (
            "problem",
            f"There is no role {name}: make it in IAM, trusted by {SERVICE}, with access to the bucket and to ECR.",
        )
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


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
