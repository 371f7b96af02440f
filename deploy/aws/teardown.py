"""Removes an environment: its stacks in reverse order, and what would be in the way; says what stays."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from carsdepo_assets.release import sagemaker_calls
from deploy.aws.account import Account, DeployError, has_bucket
from deploy.aws.changes import POLL_S, described, event_ids, failures, wait_for_end
from deploy.aws.templates import ORDER, stack_name

# Secrets by their stacks, which delete them with 30 days in which the name cannot be used again.
_STACK_SECRETS = {"data": "database", "dagster": "api-key"}


def what_stays(account: Account) -> list[str]:
    """What is left of an environment after `destroy`, and how to remove it by hand."""
    return [
        f"the lake: s3://{account.lake} with all versions; the next `make deploy` of this environment takes it over",
        f"backups: the snapshot that RDS makes now of the database carsdepo-{account.env}, and its automated backups",
        f"the secret {account.signing_secret}: the keys that the models in the lake are signed with",
        f"what SageMaker has of releases and costs nothing: the group of model packages carsdepo-{account.env}, its "
        "packages, models and configurations of endpoints",
    ]


def endpoints_of(account: Account) -> list[str]:
    """The environment's endpoints on SageMaker, which releases have made and which cost until they are deleted."""
    pages = account.client("sagemaker").get_paginator("list_endpoints")
    prefix = f"carsdepo-{account.env}-"
    listed = (e["EndpointName"] for page in pages.paginate(NameContains=prefix) for e in page["Endpoints"])
    return sorted(name for name in listed if name.startswith(prefix))


def remove_endpoints(account: Account, names: list[str], wait: Callable[[float], object] = time.sleep) -> None:
    """Deletes endpoints and their configurations, after what is being made or changed of them is done.

    Raises:
        DeployError: One is being made, changed or deleted for an hour.
    """
    client = account.client("sagemaker")
    for name in names:
        config = ""
        for _ in range(720):
            standing = sagemaker_calls.described(client, "endpoint", EndpointName=name)
            if standing is None:  # somebody else deletes it, too
                break
            config = standing["EndpointConfigName"]
            if standing["EndpointStatus"] not in ("Creating", "Updating", "RollingBack", "SystemUpdating", "Deleting"):
                sagemaker_calls.removed(client, "endpoint", EndpointName=name)
                break
            wait(POLL_S)
        else:
            raise DeployError(f"The endpoint {name} is {standing['EndpointStatus']}: wait for its end, destroy again.")
        if config:
            sagemaker_calls.removed(client, "endpoint_config", EndpointConfigName=config)
        print(f"Removed the endpoint {name}.")


def empty_bucket(account: Account, bucket: str) -> int:
    """Deletes every version of every object of a bucket; returns how many."""
    s3, count = account.client("s3"), 0
    for page in s3.get_paginator("list_object_versions").paginate(Bucket=bucket):
        versions = [*page.get("Versions", []), *page.get("DeleteMarkers", [])]
        keys: list[dict[str, Any]] = [{"Key": v["Key"], "VersionId": v["VersionId"]} for v in versions]
        for start in range(0, len(keys), 1000):
            answer = s3.delete_objects(Bucket=bucket, Delete={"Objects": keys[start : start + 1000], "Quiet": True})
            if answer.get("Errors"):
                first = answer["Errors"][0]
                raise DeployError(f"{bucket}: {first['Key']} cannot be deleted: {first['Message']}")
        count += len(keys)
    return count


def present_stacks(account: Account) -> list[str]:
    """The stacks that are there, in the order in which they are removed: also those of which nothing came to be."""
    return [stack for stack in reversed(ORDER) if described(account, stack) is not None]


def remove_stacks(account: Account, wait: Callable[[float], object] = time.sleep) -> list[str]:
    """Removes the stacks in reverse order; returns the names of those that were there.

    Raises:
        DeployError: One cannot be removed; the message has the events that say why.
    """
    removed = present_stacks(account)
    for stack in removed:
        remove_stack(account, stack, wait)
    return removed


def remove_stack(account: Account, stack: str, wait: Callable[[float], object] = time.sleep) -> None:
    """Removes one stack, after a change of it that is under way.

    Raises:
        DeployError: It cannot be removed; the message has the events that say why.
    """
    client, name = account.client("cloudformation"), stack_name(account.env, stack)
    wait_for_end(account, stack, wait)
    # The load balancer's logs and the inventory may arrive in a bucket that was just emptied.
    for _ in range(2 if stack == "data" else 1):
        if stack == "data" and has_bucket(account, account.logs):
            empty_bucket(account, account.logs)
        before = event_ids(account, stack)
        client.delete_stack(StackName=name)
        status = wait_for_end(account, stack, wait)
        if status == "DELETE_COMPLETE":
            forget_secrets(account, stack)
            print(f"Removed {name}.")
            return
    reasons = "\n".join(f"  {reason}" for reason in failures(account, stack, before))
    raise DeployError(f"{name} ended as {status}.\n{reasons}\nMend what is named there, then destroy again.")


def forget_secrets(account: Account, *stacks: str) -> None:
    """Ends the 30 days for which deleted secrets keep their names: the next deployment needs the names.

    Args:
        account: where.
        stacks: that are gone; none: all of them are.
    """
    from botocore.exceptions import ClientError

    secrets = account.client("secretsmanager")
    for name in [_STACK_SECRETS[stack] for stack in stacks or _STACK_SECRETS if stack in _STACK_SECRETS]:
        secret = f"carsdepo/{account.env}/{name}"
        try:
            if "DeletedDate" in secrets.describe_secret(SecretId=secret):
                secrets.delete_secret(SecretId=secret, ForceDeleteWithoutRecovery=True)
        except ClientError as error:
            if error.response["Error"]["Code"] != "ResourceNotFoundException":
                raise
