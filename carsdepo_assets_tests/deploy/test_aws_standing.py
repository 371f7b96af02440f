"""deploy/aws/standing.py: a stack that an earlier deployment left half way is waited for, removed, or rolled back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from botocore.exceptions import ClientError

from deploy.aws import standing
from deploy.aws.account import Account, DeployError


@dataclass
class Stack:
    """A stack that goes from state to state: while something waits, or when it is told to."""

    states: list[str]
    """The present state, and those that follow while somebody waits."""
    after: dict[str, list[str]] = field(default_factory=dict)
    """States by the name of the call that brings them."""
    calls: list[str] = field(default_factory=list)

    def describe_stacks(self, StackName: str) -> dict[str, Any]:
        if self.states[0] == "gone":
            raise ClientError(
                {"Error": {"Code": "ValidationError", "Message": f"{StackName} does not exist"}}, "DescribeStacks"
            )
        return {"Stacks": [{"StackName": StackName, "StackStatus": self.states[0]}]}

    def get_paginator(self, name: str) -> Stack:
        return self

    def paginate(self, StackName: str) -> list[dict[str, Any]]:
        event = {
            "EventId": "1", "LogicalResourceId": "Database", "ResourceType": "AWS::RDS::DBInstance",
            "ResourceStatus": "CREATE_FAILED", "ResourceStatusReason": "no such class",
        }  # fmt: skip
        return [{"StackEvents": [event]}]

    def delete_stack(self, StackName: str) -> None:
        self._call("delete_stack")

    def continue_update_rollback(self, StackName: str) -> None:
        self._call("continue_update_rollback")

    def _call(self, name: str) -> None:
        self.calls.append(name)
        self.states = list(self.after[name])

    def wait(self, seconds: float) -> None:
        self.states = self.states[1:] or self.states


ROLLED_BACK = ["UPDATE_ROLLBACK_IN_PROGRESS", "UPDATE_ROLLBACK_COMPLETE"]
DELETED = ["DELETE_IN_PROGRESS", "gone"]


@pytest.mark.parametrize(
    ("states", "after", "calls", "questions", "printed"),
    [
        (["gone"], {}, [], 0, ""),
        (["REVIEW_IN_PROGRESS"], {}, [], 0, ""),
        (["UPDATE_COMPLETE"], {}, [], 0, ""),
        (["UPDATE_ROLLBACK_COMPLETE"], {}, [], 0, ""),
        (["CREATE_IN_PROGRESS", "CREATE_COMPLETE"], {}, [], 0, "waiting for its end"),
        (["DELETE_IN_PROGRESS", "gone"], {}, [], 0, "waiting for its end"),
        (["ROLLBACK_COMPLETE"], {"delete_stack": DELETED}, ["delete_stack"], 1, "no such class"),
        (["CREATE_IN_PROGRESS", "ROLLBACK_IN_PROGRESS", "ROLLBACK_COMPLETE"], {"delete_stack": DELETED},
         ["delete_stack"], 1, "is of no use (ROLLBACK_COMPLETE)"),
        (["ROLLBACK_FAILED"], {"delete_stack": DELETED}, ["delete_stack"], 1, "is of no use"),
        (["DELETE_FAILED"], {"delete_stack": DELETED}, ["delete_stack"], 1, "is of no use"),
        (["UPDATE_ROLLBACK_FAILED"], {"continue_update_rollback": ROLLED_BACK}, ["continue_update_rollback"], 1,
         "could not be rolled back"),
    ],
)  # fmt: skip
def test_a_stack_is_brought_into_order(
    account: Account, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    states: list[str], after: dict[str, list[str]], calls: list[str], questions: int, printed: str,
) -> None:  # fmt: skip
    stack, asked = Stack(states, after), []
    monkeypatch.setattr(Account, "client", lambda own, service: stack)
    assert standing.settle(account, "network", lambda question: bool(asked.append(question)) or True, stack.wait)
    assert stack.calls == calls
    assert len(asked) == questions
    assert printed in capsys.readouterr().out


@pytest.mark.parametrize("state", ["ROLLBACK_COMPLETE", "UPDATE_ROLLBACK_FAILED"])
def test_a_no_leaves_the_stack_as_it_is(account: Account, monkeypatch: pytest.MonkeyPatch, state: str) -> None:
    stack = Stack([state])
    monkeypatch.setattr(Account, "client", lambda own, service: stack)
    no: Callable[[str], bool] = lambda question: False  # noqa: E731
    assert not standing.settle(account, "network", no, stack.wait)
    assert (stack.calls, stack.states) == ([], [state])


def test_what_does_not_go_away_is_an_error_with_the_cause(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    stack = Stack(["ROLLBACK_FAILED"], {"delete_stack": ["DELETE_IN_PROGRESS", "DELETE_FAILED"]})
    monkeypatch.setattr(Account, "client", lambda own, service: stack)
    with pytest.raises(DeployError, match=r"(?s)ended as DELETE_FAILED.*then destroy again"):
        standing.settle(account, "network", lambda question: True, stack.wait)


def test_a_rollback_that_is_stuck_again_says_what_can_be_left_out(
    account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    stuck = "UPDATE_ROLLBACK_FAILED"
    stack = Stack([stuck], {"continue_update_rollback": ["UPDATE_ROLLBACK_IN_PROGRESS", stuck]})
    monkeypatch.setattr(Account, "client", lambda own, service: stack)
    with pytest.raises(DeployError, match=r"(?s)could not be rolled back again.*--resources-to-skip"):
        standing.settle(account, "network", lambda question: True, stack.wait)
    assert stack.calls == ["continue_update_rollback"]
