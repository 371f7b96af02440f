"""Reads SageMaker's events of model packages and endpoints, as EventBridge brings them to a queue.

Events come at least once, late and in any order: `at` says when the state was so, and whoever acts on one asks
SageMaker for the present state first.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from carsdepo_assets.lake.object_events import read_envelope

PACKAGE_EVENT = "SageMaker Model Package State Change"
ENDPOINT_EVENT = "SageMaker Endpoint State Change"
# A step of an update, such as the baking of a canary: the endpoint is looked at anyway, so that nothing is read of it.
DEPLOYMENT_EVENT = "SageMaker Endpoint Deployment State Change"

_APPROVALS = {"Approved", "Rejected", "PendingManualApproval"}
_PACKAGE_STATES = {"Pending", "InProgress", "Completed", "Failed", "Deleting"}
# Of DescribeEndpoint. Events write the same in capitals with underscores, such as IN_SERVICE.
_ENDPOINT_STATES = {
    "OutOfService",
    "Creating",
    "Updating",
    "SystemUpdating",
    "RollingBack",
    "InService",
    "Deleting",
    "Failed",
    "UpdateRollbackFailed",
}
_PACKAGE_ARN = re.compile(r"arn:aws[\w-]*:sagemaker:[\w-]+:\d+:model-package/([\w-]+)/([0-9]{1,18})")
_ENDPOINT_ARN = re.compile(r"arn:aws[\w-]*:sagemaker:[\w-]+:\d+:endpoint/([\w-]+)")


class UnreadableEvent(ValueError):
    """A message is no event that is read here; the text says why."""


@dataclass(frozen=True)
class ModelPackageEvent:
    """A model package was made, or its status or approval changed."""

    event_id: str
    at: datetime
    arn: str
    group: str
    """Name of the package group."""
    version: int
    status: str
    """Pending, InProgress, Completed, Failed or Deleting."""
    approval: str
    """Approved, Rejected or PendingManualApproval."""
    description: str
    """What a person wrote with the approval; empty where nothing was written."""


@dataclass(frozen=True)
class EndpointEvent:
    """The status of an endpoint changed."""

    event_id: str
    at: datetime
    arn: str
    name: str
    status: str
    """As DescribeEndpoint writes it, such as InService."""
    config: str
    """Name of the endpoint's configuration; empty where the event names none."""
    failure: str
    """Why it failed, or was rolled back; empty where the event does not say."""


def parse_model_event(body: str) -> ModelPackageEvent | EndpointEvent | None:
    """Reads a message's body, EventBridge's JSON as it is or by an SNS topic; None: a step of an update.

    Raises:
        UnreadableEvent: it is no such event, or lacks what the event is about.
    """
    try:
        event = read_envelope(body)
    except ValueError as error:
        raise UnreadableEvent(str(error)) from error
    if event.get("source") != "aws.sagemaker":
        raise UnreadableEvent(f"its source is {event.get('source')!r} and not aws.sagemaker")
    if event.get("detail-type") == PACKAGE_EVENT:
        return parse_package_event(event)
    if event.get("detail-type") == ENDPOINT_EVENT:
        return parse_endpoint_event(event)
    if event.get("detail-type") == DEPLOYMENT_EVENT:
        return None
    raise UnreadableEvent(f"its detail-type {event.get('detail-type')!r} is neither of a package nor of an endpoint")


def parse_package_event(event: dict[str, Any]) -> ModelPackageEvent:
    """Reads EventBridge's event of a versioned model package.

    Raises:
        UnreadableEvent: the event lacks the package, its status or its approval, or has one that is not known.
    """
    detail, event_id, at = _frame(event)
    arn = _text(detail, "ModelPackageArn")
    named = _PACKAGE_ARN.fullmatch(arn)
    if named is None:
        raise UnreadableEvent(f"ModelPackageArn {arn!r} names no version of a package group")
    return ModelPackageEvent(
        event_id=event_id,
        at=at,
        arn=arn,
        group=str(detail.get("ModelPackageGroupName") or named[1]),
        version=int(named[2]),
        status=_one_of(detail, "ModelPackageStatus", _PACKAGE_STATES),
        approval=_one_of(detail, "ModelApprovalStatus", _APPROVALS),
        description=str(detail.get("ApprovalDescription") or ""),
    )


def parse_endpoint_event(event: dict[str, Any]) -> EndpointEvent:
    """Reads EventBridge's event of an endpoint.

    Raises:
        UnreadableEvent: the event lacks the endpoint or its status, or has a status that is not known.
    """
    detail, event_id, at = _frame(event)
    arn = _text(detail, "EndpointArn")
    named = _ENDPOINT_ARN.fullmatch(arn)
    if named is None:
        raise UnreadableEvent(f"EndpointArn {arn!r} names no endpoint")
    return EndpointEvent(
        event_id=event_id,
        at=at,
        arn=arn,
        name=_text(detail, "EndpointName"),  # as it was written: the ARN has it in small letters
        status=_one_of(detail, "EndpointStatus", _ENDPOINT_STATES),
        config=str(detail.get("EndpointConfigName") or ""),
        failure=str(detail.get("FailureReason") or ""),
    )


def _frame(event: dict[str, Any]) -> tuple[dict[str, Any], str, datetime]:
    detail, event_id, time = event.get("detail"), event.get("id"), event.get("time")
    if not isinstance(detail, dict):
        raise UnreadableEvent("it has no detail")
    if not isinstance(event_id, str) or not event_id:
        raise UnreadableEvent("it has no id")
    try:
        at = datetime.fromisoformat(str(time))
    except ValueError as error:
        raise UnreadableEvent(f"its time {time!r} is none") from error
    if at.tzinfo is None:
        raise UnreadableEvent(f"its time {time!r} has no time zone")
    return detail, event_id, at


def _text(detail: dict[str, Any], name: str) -> str:
    value = detail.get(name)
    if not isinstance(value, str) or not value:
        raise UnreadableEvent(f"{name} is missing")
    return value


def _one_of(detail: dict[str, Any], name: str, states: set[str]) -> str:
    """The state as SageMaker's API writes it, whichever way the event does."""
    value = _text(detail, name)
    by_capitals = {state.upper(): state for state in states}
    if (state := by_capitals.get(value.replace("_", "").upper())) is None:
        raise UnreadableEvent(f"{name} {value!r} is none of {', '.join(sorted(states))}")
    return state
