"""Makes change sets, says in plain words what they change, carries them out, and says why one failed."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from deploy.aws.account import Account, DeployError
from deploy.aws.templates import stack_name, text_of

POLL_S = 5.0
_STARTS_WITHIN = 12  # looks for the first event of a change that is carried out
_NOTHING = ("didn't contain changes", "No updates are to be performed", "no changes")
_CAPABILITIES = ["CAPABILITY_NAMED_IAM"]


@dataclass(frozen=True)
class ChangeSet:
    """What would change in a stack."""

    stack: str
    name: str
    arn: str
    is_new: bool
    """Whether the stack is not there yet."""
    changes: tuple[Mapping[str, Any], ...]
    """Of each resource, as DescribeChangeSet has it."""


def described(account: Account, stack: str) -> dict[str, Any] | None:
    """What DescribeStacks says of a stack, whatever its state; None where there is none."""
    from botocore.exceptions import ClientError

    try:
        answer = account.client("cloudformation").describe_stacks(StackName=stack_name(account.env, stack))
    except ClientError as error:
        if "does not exist" in error.response["Error"]["Message"]:
            return None
        raise
    found: dict[str, Any] = answer["Stacks"][0]
    return None if found["StackStatus"] == "DELETE_COMPLETE" else found


def stack_of(account: Account, stack: str) -> dict[str, Any] | None:
    """The same; None also where there is nothing but a change set that was given up."""
    found = described(account, stack)
    return None if found is None or found["StackStatus"] == "REVIEW_IN_PROGRESS" else found


def outputs_of(account: Account, stack: str) -> dict[str, str]:
    """The outputs of a stack; empty where there is none."""
    present = stack_of(account, stack) or {}
    return {output["OutputKey"]: output["OutputValue"] for output in present.get("Outputs", [])}


def given_to(account: Account, stack: str) -> dict[str, str] | None:
    """The parameters that a stack was given last, by name; None where there is none."""
    present = stack_of(account, stack)
    if present is None:
        return None
    return {one["ParameterKey"]: one["ParameterValue"] for one in present.get("Parameters", [])}


def make_change_set(
    account: Account,
    stack: str,
    parameters: Mapping[str, str],
    *,
    text: str | None = None,
    wait: Callable[[float], object] = time.sleep,
) -> ChangeSet | None:
    """Asks CloudFormation what would change.

    Args:
        account: where.
        stack: of templates.ORDER.
        parameters: of the template.
        text: the template; None: the file's.
        wait: lets seconds pass.

    Returns:
        The change set; None where nothing would change.

    Raises:
        DeployError: CloudFormation refuses the template, or the stack is in a state in which nothing can change.
    """
    from botocore.exceptions import ClientError

    client = account.client("cloudformation")
    present = stack_of(account, stack)
    _require_quiet(account, stack, present)
    name = f"deploy-{uuid.uuid4().hex[:12]}"
    try:
        answer = client.create_change_set(
            StackName=stack_name(account.env, stack),
            ChangeSetName=name,
            ChangeSetType="CREATE" if present is None else "UPDATE",
            TemplateBody=text_of(stack) if text is None else text,
            Parameters=[{"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()],
            Capabilities=_CAPABILITIES,
            Tags=[
                {"Key": "Project", "Value": "carsdepo"},
                {"Key": "Environment", "Value": account.env},
                {"Key": "Component", "Value": stack},
            ],
        )
    except ClientError as error:
        raise DeployError(f"{stack}: CloudFormation refuses it: {error.response['Error']['Message']}") from error
    changes: list[Mapping[str, Any]] = []
    shown = client.describe_change_set(ChangeSetName=answer["Id"])
    while shown["Status"] in ("CREATE_PENDING", "CREATE_IN_PROGRESS"):
        wait(POLL_S)
        shown = client.describe_change_set(ChangeSetName=answer["Id"])
    reason = shown.get("StatusReason", "")
    if shown["Status"] == "FAILED" and not any(text in reason for text in _NOTHING):
        raise DeployError(f"{stack}: CloudFormation refuses it: {reason}")
    changes += shown.get("Changes", [])
    while shown.get("NextToken"):
        shown = client.describe_change_set(ChangeSetName=answer["Id"], NextToken=shown["NextToken"])
        changes += shown.get("Changes", [])
    if not changes and present is not None:
        client.delete_change_set(ChangeSetName=answer["Id"])
        return None
    return ChangeSet(stack, name, answer["Id"], present is None, tuple(c["ResourceChange"] for c in changes))


def _require_quiet(account: Account, stack: str, present: Mapping[str, Any] | None) -> None:
    """Refuses a stack that standing.settle has not brought into order, such as one that began to change just now."""
    status = (present or {}).get("StackStatus", "")
    if status.endswith(("_IN_PROGRESS", "_FAILED")) or status == "ROLLBACK_COMPLETE":
        raise DeployError(f"{stack_name(account.env, stack)} cannot be changed now ({status}): deploy again.")


def words(change: Mapping[str, Any]) -> str:
    """One change in one line."""
    resource = f"{change['LogicalResourceId']} ({change['ResourceType']})"
    action = change["Action"]
    if action == "Add":
        return f"  + {resource} is made"
    if action == "Remove":
        kept = change.get("PolicyAction") in ("Retain", "Snapshot")
        return f"  - {resource} leaves the stack" + (" and is kept" if kept else " and is removed")
    if action == "Modify":
        what = sorted({d["Target"].get("Name") or d["Target"]["Attribute"] for d in change.get("Details", [])})
        of = f": {', '.join(what)}" if what else ""
        replaced = change.get("Replacement")
        if replaced == "True":
            return f"  ! {resource} is REPLACED by a new one, and the present one removed{of}"
        if replaced == "Conditional":
            return f"  ! {resource} is changed, and MAY be replaced by a new one{of}"
        return f"  ~ {resource} is changed in place{of}"
    return f"  {action}: {resource}"


def summary(changes: Iterable[Mapping[str, Any]]) -> str:
    """How many resources are made, changed, replaced and removed."""
    lines = [words(change).strip()[0] for change in changes]
    names = {"+": "made", "~": "changed", "!": "replaced, or perhaps", "-": "removed"}
    return ", ".join(f"{lines.count(sign)} {name}" for sign, name in names.items() if sign in lines) or "nothing"


def give_up(account: Account, change_set: ChangeSet) -> None:
    """Removes a change set that is not wanted, and the name of a stack of which there is nothing else."""
    client = account.client("cloudformation")
    try:
        client.delete_change_set(ChangeSetName=change_set.arn)
    except client.exceptions.ClientError as error:
        if error.response["Error"]["Code"] not in ("ChangeSetNotFound", "InvalidChangeSetStatus"):
            raise
    present = described(account, change_set.stack)
    # Another deployment may have made the stack, or have shown its own changes, while somebody thought about these.
    if change_set.is_new and present is not None and present["StackStatus"] == "REVIEW_IN_PROGRESS":
        if client.list_change_sets(StackName=present["StackName"])["Summaries"]:
            return
        client.delete_stack(StackName=present["StackName"])


def carry_out(account: Account, change_set: ChangeSet, wait: Callable[[float], object] = time.sleep) -> None:
    """Executes a change set and waits for its end.

    Raises:
        DeployError: It failed, and CloudFormation has rolled it back; the message has the events that say why. Or it
            was not begun, since another deployment came first.
    """
    from botocore.exceptions import ClientError

    client = account.client("cloudformation")
    name = stack_name(account.env, change_set.stack)
    before = event_ids(account, change_set.stack)
    try:
        client.execute_change_set(ChangeSetName=change_set.arn)
    except ClientError as error:
        if error.response["Error"]["Code"] not in ("ChangeSetNotFound", "InvalidChangeSetStatus"):
            raise
        raise DeployError(
            f"{name}: another deployment changed it since the changes were shown. Nothing of these was carried out: "
            "deploy again, and look at what is left to change."
        ) from error
    # The stack keeps its former status for a moment: an event of this change says that it has begun.
    for _ in range(_STARTS_WITHIN):
        if event_ids(account, change_set.stack) != before:
            break
        wait(POLL_S)
    status = wait_for_end(account, change_set.stack, wait)
    if status not in ("CREATE_COMPLETE", "UPDATE_COMPLETE"):
        reasons = failures(account, change_set.stack, before)
        raise DeployError(f"{name} ended as {status}.\n" + "\n".join(f"  {reason}" for reason in reasons))


def wait_for_end(account: Account, stack: str, wait: Callable[[float], object] = time.sleep) -> str:
    """The status of a stack once nothing changes in it; DELETE_COMPLETE where it is gone."""
    while True:
        present = stack_of(account, stack)
        status = str((present or {}).get("StackStatus", "DELETE_COMPLETE"))
        if not status.endswith("_IN_PROGRESS"):
            return status
        wait(POLL_S)


def event_ids(account: Account, stack: str) -> frozenset[str]:
    """The ids of a stack's events so far; empty where there is no stack."""
    from botocore.exceptions import ClientError

    try:
        pages = account.client("cloudformation").get_paginator("describe_stack_events")
        name = stack_name(account.env, stack)
        return frozenset(e["EventId"] for page in pages.paginate(StackName=name) for e in page["StackEvents"])
    except ClientError as error:
        if "does not exist" in error.response["Error"]["Message"]:
            return frozenset()
        raise  # no events would look as if a change had begun that has not


def failures(account: Account, stack: str, before: frozenset[str] = frozenset()) -> list[str]:
    """What failed in a stack since then, the first failure first: what follows from it is left out."""
    from botocore.exceptions import ClientError

    try:
        pages = account.client("cloudformation").get_paginator("describe_stack_events")
        name = stack_name(account.env, stack)
        events = [e for page in pages.paginate(StackName=name) for e in page["StackEvents"]]
    except ClientError:
        return []
    failed = [
        f"{e['LogicalResourceId']} ({e['ResourceType']}): {e.get('ResourceStatusReason', e['ResourceStatus'])}"
        for e in reversed(events)
        if e["EventId"] not in before
        and e["ResourceStatus"].endswith("FAILED")
        and "cancelled" not in e.get("ResourceStatusReason", "").lower()
    ]
    return failed or ["CloudFormation names no resource: look at the stack's events in the console."]
