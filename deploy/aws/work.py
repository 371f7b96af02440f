"""Stops what goes on in an environment that is removed: Dagster's daemon, tasks of runs and jobs, SageMaker's jobs.

The daemon goes first: its sensors would make a deleted endpoint again, and start further runs. A cluster with a running
task cannot be deleted, nor can the network of a job that goes on.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

from deploy.aws.account import Account, DeployError
from deploy.aws.changes import POLL_S

PATIENCE = 120  # looks: ten minutes, of which a stopped task may take two
_DAEMON = "daemon"
# By kind of SageMaker's jobs: the list, its key, what the fields of a job begin with, the call that stops one.
_JOBS = (
    ("list_training_jobs", "TrainingJobSummaries", "TrainingJob", "stop_training_job"),
    ("list_processing_jobs", "ProcessingJobSummaries", "ProcessingJob", "stop_processing_job"),
)


def stop_work(account: Account, wait: Callable[[float], object] = time.sleep) -> list[str]:
    """Stops everything that goes on, and waits until it is over.

    Args:
        account: with the environment.
        wait: lets seconds pass.

    Returns:
        What was stopped, as people read it.

    Raises:
        DeployError: Something does not stop.
    """
    stopped: list[str] = []
    for _ in range(PATIENCE):
        going = [*_stop_tasks(account, stopped), *_stop_jobs(account, stopped)]
        if not going:
            _unprotect(account)
            return stopped
        wait(POLL_S)
    raise DeployError(f"These do not stop: {', '.join(going)}. Look at them in the console, then destroy again.")


def _stop_tasks(account: Account, stopped: list[str]) -> list[str]:
    """Stops the daemon and the tasks that no service keeps; returns those that are not over yet."""
    from botocore.exceptions import ClientError

    ecs, cluster = account.client("ecs"), f"carsdepo-{account.env}"
    try:
        services = ecs.describe_services(cluster=cluster, services=[_DAEMON])["services"]
    except ClientError as error:
        if error.response["Error"]["Code"] == "ClusterNotFoundException":
            return []
        raise
    if any(service["status"] == "ACTIVE" and service["desiredCount"] for service in services):
        ecs.update_service(cluster=cluster, service=_DAEMON, desiredCount=0)
        stopped.append("Dagster's daemon")
    going = []
    for task in _tasks(ecs, cluster):
        is_of_daemon = task.get("group") == f"service:{_DAEMON}"
        if task["lastStatus"] == "STOPPED" or (str(task.get("group")).startswith("service:") and not is_of_daemon):
            continue
        name = task["taskArn"].rpartition("/")[2]
        if task["desiredStatus"] != "STOPPED":
            ecs.stop_task(cluster=cluster, task=task["taskArn"], reason="make destroy")
            if not is_of_daemon:
                stopped.append(f"the task {name} ({task['taskDefinitionArn'].rpartition('/')[2]})")
        going.append(f"the task {name}")
    return going


def _tasks(ecs: Any, cluster: str) -> Iterator[dict[str, Any]]:
    """Those that run, and those that were told to stop within the last hour."""
    for desired in ("RUNNING", "STOPPED"):
        for page in ecs.get_paginator("list_tasks").paginate(cluster=cluster, desiredStatus=desired):
            if page["taskArns"]:  # a page has at most a hundred, as many as DescribeTasks takes
                yield from ecs.describe_tasks(cluster=cluster, tasks=page["taskArns"])["tasks"]


def _stop_jobs(account: Account, stopped: list[str]) -> list[str]:
    """Stops the jobs that have the environment's tag; returns those that are not over yet."""
    sagemaker, going = account.client("sagemaker"), []
    for lists, key, kind, stop in _JOBS:
        for status in ("InProgress", "Stopping"):
            pages = sagemaker.get_paginator(lists).paginate(StatusEquals=status, NameContains="carsdepo-")
            for job in (job for page in pages for job in page[key]):
                if not _is_of(account, sagemaker, job[f"{kind}Arn"]):
                    continue
                name = job[f"{kind}Name"]
                if status == "InProgress" and _stop_job(sagemaker, stop, **{f"{kind}Name": name}):
                    stopped.append(f"the job {name}")
                going.append(f"the job {name}")
    return going


def _stop_job(sagemaker: Any, stop: str, **name: str) -> bool:
    """Stops a job; False where it has ended since it was listed."""
    from botocore.exceptions import ClientError

    try:
        getattr(sagemaker, stop)(**name)
    except ClientError as error:
        if error.response["Error"]["Code"] not in ("ValidationException", "ResourceNotFound"):
            raise
        return False
    return True


def _is_of(account: Account, sagemaker: Any, arn: str) -> bool:
    """Whether a job is this environment's: names of jobs do not say so."""
    tags = {tag["Key"]: tag["Value"] for tag in sagemaker.list_tags(ResourceArn=arn)["Tags"]}
    return tags.get("Project") == "carsdepo" and tags.get("Environment") == account.env


def _unprotect(account: Account) -> None:
    """Lets the groups of machines with GPUs go: ECS protects a machine that has run a task from being taken away."""
    scaling, names = account.client("autoscaling"), [f"carsdepo-{account.env}-gpu{kind}" for kind in ("", "-spot")]
    for group in scaling.describe_auto_scaling_groups(AutoScalingGroupNames=names)["AutoScalingGroups"]:
        machines = [one["InstanceId"] for one in group["Instances"] if one.get("ProtectedFromScaleIn")]
        if machines:
            scaling.set_instance_protection(
                AutoScalingGroupName=group["AutoScalingGroupName"], InstanceIds=machines, ProtectedFromScaleIn=False
            )
