"""Looks, before an ECS task starts, at what it will need: cluster, task definition, image, capacity, bucket."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from carsdepo_assets.compute.pipes.aws_errors import code_of
from carsdepo_assets.compute.preflight_checks import Client, Finding, bucket, image, look_at_all

_JOB = "ECS task"
_FARGATE = ("FARGATE", "FARGATE_SPOT")


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
        JobNotReady: something is missing.
    """
    looks = {
        f"The cluster {needs.cluster}": lambda: _cluster(needs, client),
        f"The task definition {needs.task_definition} with its image": lambda: _task_definition(needs, client),
        "The GPUs": lambda: _gpus(needs),
        f"The bucket {needs.bucket}": lambda: bucket(needs.bucket, _JOB, needs.region, client),
    }
    look_at_all(_JOB, looks, warn)


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
    or_else = "register a task definition with one that is"
    yield from image(containers[needs.container]["image"], _JOB, needs.region, or_else, client)


def _gpus(needs: EcsNeeds) -> Iterator[Finding]:
    on_fargate = [p for p in needs.providers if p in _FARGATE]
    if needs.gpus and on_fargate:
        yield (
            "warning",
            f"The task asks for {needs.gpus} GPUs, which {', '.join(on_fargate)} does not have: name a capacity "
            "provider of an Auto Scaling group with GPU instances in `gpu_capacity` of the compute target.",
        )
