"""Looks, before an ECS task starts, at what it will need: cluster, task definition, image, capacity, bucket.

A task that asks for what is not there fails late, or waits. Each problem says what to ask for and where. Where this
process may not look, that is a warning in the log: the task may still run.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import dagster as dg

from carsdepo_assets.compute.pipes.aws_errors import code_of, explained, trouble_of

Client = Callable[..., Any]
Finding = tuple[Literal["problem", "warning"], str]
_ECR = re.compile(
    r"(?P<account>\d{12})\.dkr\.ecr\.(?P<region>[a-z0-9-]+)\.amazonaws\.com(\.cn)?/"
    r"(?P<repository>[^:@]+)(?::(?P<tag>[^@]+))?(?:@(?P<digest>sha256:[0-9a-f]{64}))?"
)
_FARGATE = ("FARGATE", "FARGATE_SPOT")


class EcsNotReady(dg.Failure):
    """A task would fail for want of something that has to be asked for first; `description` lists all of it."""


@dataclass(frozen=True)
class EcsNeeds:
    """What a task needs."""

    cluster: str
    task_definition: str
    container: str
    providers: tuple[str, ...]
    gpus: int
    bucket: str
    region: str


def preflight(needs: EcsNeeds, client: Client, warn: Callable[[str], None]) -> None:
    """Looks at everything once.

    Args:
        needs: what the task needs.
        client: makes a boto3 client of a service, as a boto3 session does.
        warn: gets a line for each thing that could not be looked at.

    Raises:
        EcsNotReady: something is missing.
    """
    problems = []
    for look in (_cluster, _task_definition, _gpus, _bucket):
        try:
            findings = list(look(needs, client))
        except Exception as error:
            if trouble_of(error) is None:  # no answer of AWS, nor its absence: a fault of this code
                raise
            findings = [("warning", f"{look.__name__.strip('_')} could not be looked at. {explained(error)}")]
        for weight, text in findings:
            if weight == "problem":
                problems.append(text)
            else:
                warn(f"Before the ECS task: {text}")
    if problems:
        raise EcsNotReady(f"The ECS task was not started. {' '.join(problems)}", allow_retries=False)


def _cluster(needs: EcsNeeds, client: Client) -> Iterator[Finding]:
    """The cluster, and the capacity providers that it must know."""
    clusters = client("ecs").describe_clusters(clusters=[needs.cluster])["clusters"]
    active = [c for c in clusters if c.get("status") == "ACTIVE"]
    if not active:
        yield (
            "problem",
            f"There is no active ECS cluster {needs.cluster} in {needs.region}: make it (aws ecs create-cluster "
            f"--cluster-name {needs.cluster} --region {needs.region}), or correct `cluster` of the compute target.",
        )
        return
    there = active[0].get("capacityProviders", [])
    missing = [p for p in needs.providers if p not in there]
    if missing:
        yield (
            "problem",
            f"The cluster {needs.cluster} has no capacity provider {', '.join(missing)}; it has "
            f"{', '.join(there) or 'none'}. Add it with aws ecs put-cluster-capacity-providers, or correct "
            "`capacity` of the compute target.",
        )


def _task_definition(needs: EcsNeeds, client: Client) -> Iterator[Finding]:
    try:
        definition = client("ecs").describe_task_definition(taskDefinition=needs.task_definition)["taskDefinition"]
    except Exception as error:
        if code_of(error) != "ClientException":
            raise
        yield (
            "problem",
            f"There is no task definition {needs.task_definition} in {needs.region}: register it, or correct "
            "`task_definitions` of the compute target.",
        )
        return
    if definition.get("status", "ACTIVE") != "ACTIVE":
        yield (
            "problem",
            f"The task definition {needs.task_definition} is {definition['status']}: register a new revision, or name "
            "the family without a revision.",
        )
    containers = {c["name"]: c for c in definition["containerDefinitions"]}
    if needs.container not in containers:
        yield (
            "problem",
            f"The task definition {needs.task_definition} has no container {needs.container}, but "
            f"{', '.join(containers)}: correct `container` of the compute target.",
        )
        return
    yield from _image(containers[needs.container]["image"], needs, client)


def _image(image: str, needs: EcsNeeds, client: Client) -> Iterator[Finding]:
    parts = _ECR.fullmatch(image)
    if parts is None:
        yield "warning", f"The image {image} is not in ECR, so that it cannot be looked at."
        return
    wanted = {"imageDigest": parts["digest"]} if parts["digest"] else {"imageTag": parts["tag"] or "latest"}
    try:
        client("ecr", region_name=parts["region"]).describe_images(
            registryId=parts["account"], repositoryName=parts["repository"], imageIds=[wanted]
        )
    except Exception as error:
        if code_of(error) not in ("RepositoryNotFoundException", "ImageNotFoundException"):
            raise
        yield (
            "problem",
            f"The image {image} is not in ECR ({code_of(error)}): push it (`make images REGISTRY=...`), or register a "
            "task definition with one that is.",
        )
    if parts["region"] != needs.region:
        yield "warning", f"The image is in {parts['region']} and the task in {needs.region}."


def _gpus(needs: EcsNeeds, client: Client) -> Iterator[Finding]:
    on_fargate = [p for p in needs.providers if p in _FARGATE]
    if needs.gpus and on_fargate:
        yield (
            "warning",
            f"The task asks for {needs.gpus} GPUs, which {', '.join(on_fargate)} does not have: name a capacity "
            "provider of an Auto Scaling group with GPU instances in `gpu_capacity` of the compute target.",
        )


def _bucket(needs: EcsNeeds, client: Client) -> Iterator[Finding]:
    try:
        headers = client("s3").head_bucket(Bucket=needs.bucket)["ResponseMetadata"]["HTTPHeaders"]
    except Exception as error:
        if code_of(error) not in ("404", "NoSuchBucket"):
            raise
        yield (
            "problem",
            f"There is no bucket {needs.bucket}: make it in {needs.region}, or correct `bucket` of the compute target.",
        )
        return
    region = headers.get("x-amz-bucket-region")
    if region is not None and region != needs.region:
        yield (
            "problem",
            f"The bucket {needs.bucket} is in {region} and the cluster in {needs.region}: use a bucket in "
            f"{needs.region}, since messages and data between regions cost money and time.",
        )
