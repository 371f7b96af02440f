"""How long the logs are kept that SageMaker makes itself, and no template: for ever, unless somebody says otherwise."""

from __future__ import annotations

from contextlib import suppress

from deploy.aws.account import Account

STAGES = ("production", "staging")
# Of all of the account's jobs: somebody else's setting stays.
SHARED = ("/aws/sagemaker/TrainingJobs", "/aws/sagemaker/ProcessingJobs")


def groups_of(env: str) -> list[str]:
    """The groups of an environment's endpoints, by the endpoints' names in dagster.yaml."""
    return [f"/aws/sagemaker/Endpoints/carsdepo-{env}-{stage}" for stage in STAGES]


def limit_logs(account: Account, days: int) -> None:
    """Makes the groups, before SageMaker would, and says how long they are kept.

    Args:
        account: where.
        days: one of those that CloudWatch Logs knows.
    """
    logs = account.client("logs")
    for name in (*SHARED, *groups_of(account.env)):
        with suppress(logs.exceptions.ResourceAlreadyExistsException):
            logs.create_log_group(logGroupName=name)
        listed = logs.describe_log_groups(logGroupNamePrefix=name)["logGroups"]
        kept = next((one.get("retentionInDays") for one in listed if one["logGroupName"] == name), None)
        if kept is None or (name not in SHARED and kept != days):
            logs.put_retention_policy(logGroupName=name, retentionInDays=days)


def remove_logs(account: Account) -> None:
    """Removes the groups of the environment's endpoints."""
    logs = account.client("logs")
    for name in groups_of(account.env):
        listed = logs.describe_log_groups(logGroupNamePrefix=name)["logGroups"]
        if any(one["logGroupName"] == name for one in listed):
            logs.delete_log_group(logGroupName=name)
