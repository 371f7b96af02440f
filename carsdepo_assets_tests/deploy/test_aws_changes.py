"""deploy/aws/changes.py: the changes of a stack are shown in plain words, carried out, and a failure is explained."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError
from botocore.stub import Stubber

from deploy.aws import changes
from deploy.aws.account import Account, DeployError

SIZE = [{"Target": {"Attribute": "Properties", "Name": "Size"}}]


@pytest.mark.parametrize("code", ["ChangeSetNotFound", "InvalidChangeSetStatus"])
def test_changes_that_another_deployment_removed_need_no_giving_up(
    account: Account, one_stack: OneStack, code: str
) -> None:
    one_stack.stub.add_client_error("delete_change_set", code)
    one_stack.is_in("CREATE_IN_PROGRESS")
    changes.give_up(account, changes.ChangeSet("data", "n", "arn:aws:x", True, ()))


def test_changes_that_cannot_be_given_up_are_an_error(account: Account, one_stack: OneStack) -> None:
    one_stack.stub.add_client_error("delete_change_set", "AccessDenied")
    with pytest.raises(ClientError, match="AccessDenied"):
        changes.give_up(account, changes.ChangeSet("data", "n", "arn:aws:x", True, ()))


def test_events_that_cannot_be_read_are_no_events_that_there_are_not(
    account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert changes.event_ids(account, "data") == frozenset()
    client = account.client("cloudformation")
    monkeypatch.setattr(Account, "client", lambda own, service: client)
    with Stubber(client) as stubber:
        stubber.add_client_error("describe_stack_events", "Throttling", "Rate exceeded")
        with pytest.raises(ClientError, match="Rate exceeded"):
            changes.event_ids(account, "data")


class OneStack:
    """A client of CloudFormation with one stack, which answers as it is told."""

    def __init__(self, account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
        client = account.client("cloudformation")
        self.stub = Stubber(client)
        self.stub.activate()
        monkeypatch.setattr(Account, "client", lambda own, service: client)

    def is_in(self, status: str) -> None:
        stack = {"StackName": "carsdepo-trial-data", "StackStatus": status, "CreationTime": "2026-11-26"}
        self.stub.add_response("describe_stacks", {"Stacks": [stack]})

    def has_change_set(self, **described: Any) -> None:
        self.stub.add_response("create_change_set", {"Id": "arn:aws:cloudformation:eu-west-1:1:changeSet/x/1"})
        self.stub.add_response("describe_change_set", described)

    def has_events(self, *events: tuple[str, str, str]) -> None:
        listed = [
            {"StackId": "s", "EventId": str(n), "StackName": "s", "LogicalResourceId": name, "Timestamp": "2026-11-26",
             "ResourceType": "AWS::SQS::Queue", "ResourceStatus": status, "ResourceStatusReason": reason}
            for n, (name, status, reason) in enumerate(events)
        ]  # fmt: skip
        self.stub.add_response("describe_stack_events", {"StackEvents": listed[::-1]})


@pytest.fixture
def one_stack(account: Account, monkeypatch: pytest.MonkeyPatch) -> Iterator[OneStack]:
    told = OneStack(account, monkeypatch)
    yield told
    told.stub.assert_no_pending_responses()


@pytest.mark.parametrize(
    "status", ["UPDATE_IN_PROGRESS", "ROLLBACK_COMPLETE", "DELETE_FAILED", "UPDATE_ROLLBACK_FAILED"]
)
def test_a_stack_that_cannot_change_is_said(account: Account, one_stack: OneStack, status: str) -> None:
    one_stack.is_in(status)
    with pytest.raises(DeployError, match=f"cannot be changed now .{status}.: deploy again"):
        changes.make_change_set(account, "data", {})


@pytest.mark.parametrize(
    "reason", ["The submitted information didn't contain changes.", "No updates are to be performed."]
)
def test_nothing_to_change_is_no_failure(account: Account, one_stack: OneStack, reason: str) -> None:
    one_stack.is_in("UPDATE_COMPLETE")
    one_stack.has_change_set(Status="FAILED", StatusReason=reason)
    one_stack.stub.add_response("delete_change_set", {})
    assert changes.make_change_set(account, "data", {}) is None


def test_a_refused_template_is_a_failure_with_its_reason(account: Account, one_stack: OneStack) -> None:
    one_stack.is_in("UPDATE_COMPLETE")
    one_stack.has_change_set(Status="FAILED", StatusReason="Template error: no such attribute")
    with pytest.raises(DeployError, match="no such attribute"):
        changes.make_change_set(account, "data", {})


def test_changes_come_on_several_pages(account: Account, one_stack: OneStack) -> None:
    one = {"Type": "Resource", "ResourceChange": {"Action": "Add", "LogicalResourceId": "A", "ResourceType": "T"}}
    one_stack.is_in("UPDATE_COMPLETE")
    one_stack.has_change_set(Status="CREATE_PENDING")
    waits: list[float] = []
    one_stack.stub.add_response(
        "describe_change_set", {"Status": "CREATE_COMPLETE", "Changes": [one], "NextToken": "2"}
    )
    one_stack.stub.add_response("describe_change_set", {"Status": "CREATE_COMPLETE", "Changes": [one]})
    change_set = changes.make_change_set(account, "data", {}, wait=waits.append)
    assert change_set is not None
    assert len(change_set.changes) == 2
    assert waits == [changes.POLL_S]


def test_a_failure_names_the_first_cause(account: Account, one_stack: OneStack) -> None:
    before = ("Old", "CREATE_FAILED", "of last week")
    one_stack.has_events(before)
    one_stack.stub.add_response("execute_change_set", {})
    one_stack.has_events(before)  # it has not begun
    one_stack.has_events(before, ("Stack", "UPDATE_IN_PROGRESS", "User Initiated"))
    one_stack.is_in("UPDATE_IN_PROGRESS")
    one_stack.is_in("UPDATE_ROLLBACK_COMPLETE")
    one_stack.has_events(
        before,
        ("Uploads", "UPDATE_FAILED", "the queue cannot be so"),
        ("Labels", "UPDATE_FAILED", "Resource update cancelled"),
        ("Uploads", "UPDATE_COMPLETE", ""),
    )
    waits: list[float] = []
    with pytest.raises(DeployError) as failure:
        changes.carry_out(account, changes.ChangeSet("data", "n", "arn:aws:x", False, ()), waits.append)
    assert str(failure.value).splitlines() == [
        "carsdepo-trial-data ended as UPDATE_ROLLBACK_COMPLETE.",
        "  Uploads (AWS::SQS::Queue): the queue cannot be so",
    ]
    assert waits == [changes.POLL_S, changes.POLL_S]


@pytest.mark.parametrize("code", ["ChangeSetNotFound", "InvalidChangeSetStatus"])
def test_of_two_deployments_at_once_the_later_one_changes_nothing(
    account: Account, one_stack: OneStack, code: str
) -> None:
    """The change set that is carried out first makes CloudFormation delete the others of its stack."""
    one_stack.has_events()
    one_stack.stub.add_client_error("execute_change_set", code)
    with pytest.raises(DeployError, match=r"another deployment changed it.*deploy again"):
        changes.carry_out(account, changes.ChangeSet("data", "n", "arn:aws:x", False, ()))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"Action": "Add"}, "  + Q (T) is made"),
        ({"Action": "Remove"}, "  - Q (T) leaves the stack and is removed"),
        ({"Action": "Remove", "PolicyAction": "Retain"}, "  - Q (T) leaves the stack and is kept"),
        ({"Action": "Modify", "Replacement": "False", "Details": SIZE}, "  ~ Q (T) is changed in place: Size"),
        ({"Action": "Modify", "Details": [{"Target": {"Attribute": "Tags"}}]}, "  ~ Q (T) is changed in place: Tags"),
        ({"Action": "Modify", "Replacement": "True"},
         "  ! Q (T) is REPLACED by a new one, and the present one removed"),
        ({"Action": "Modify", "Replacement": "Conditional"}, "  ! Q (T) is changed, and MAY be replaced by a new one"),
        ({"Action": "Import"}, "  Import: Q (T)"),
    ],
)  # fmt: skip
def test_changes_in_plain_words(change: dict[str, Any], said: str) -> None:
    assert changes.words({"LogicalResourceId": "Q", "ResourceType": "T", **change}) == said


def test_a_summary_counts() -> None:
    of = {"LogicalResourceId": "Q", "ResourceType": "T"}
    told = changes.summary([{"Action": "Add", **of}, {"Action": "Add", **of}, {"Action": "Remove", **of}])
    assert told == "2 made, 1 removed"
