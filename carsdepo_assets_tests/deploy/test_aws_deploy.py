"""deploy/aws/deploy.py: a deployment is checked, shown and asked for, and makes its stacks.

moto is the account here; the whole templates are made by ministack, in deploy/aws/test_on_ministack.py.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from botocore.stub import Stubber

from carsdepo_assets_tests.deploy.emulated_stack import TABLE, no, one_template, text, yes
from deploy.aws import account as accounts
from deploy.aws import changes, deploy, parameters
from deploy.aws.account import Account, DeployError

__all__ = ["one_template"]


def test_without_a_region_or_credentials_it_says_what_to_set(
    nowhere: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert deploy.main(["smoke", "trial"]) == 1
    assert "set AWS_REGION or AWS_DEFAULT_REGION" in capsys.readouterr().err
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    assert deploy.main(["smoke", "trial"]) == 1
    assert "There are no AWS credentials" in capsys.readouterr().err
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    assert deploy.main(["smoke", "trial"]) == 1
    assert "nobody" in capsys.readouterr().err


@pytest.mark.parametrize("env", ["Trial", "a", "x" * 13, "tri-al"])
def test_an_environments_name_is_checked_first(env: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert deploy.main(["destroy", env]) == 1
    assert f"ENV={env}" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["deploy", "costs"])
def test_a_size_is_checked_first(nowhere: None, command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert deploy.main([command, "trial", "--size", "huge"]) == 1
    assert capsys.readouterr().err == "deploy: SIZE=huge: there are small, medium, large.\n"


def test_costs_need_no_account(nowhere: None, capsys: pytest.CaptureFixture[str]) -> None:
    assert deploy.main(["costs", "trial", "--size", "large"]) == 0
    assert "A month of size large, estimated" in capsys.readouterr().out


def test_costs_follow_the_environments_file(
    nowhere: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(parameters, "environment_file", lambda env: tmp_path / f"{env}.json")
    monkeypatch.setattr(parameters, "required", dict)
    (tmp_path / "trial.json").write_text('{"NatGateway": "false"}')
    shown = {}
    for env in ("trial", "other"):
        assert deploy.main(["costs", env]) == 0
        shown[env] = next(line for line in capsys.readouterr().out.splitlines() if line.endswith(" network")).split()[0]
    assert shown["trial"] == "0" != shown["other"]


def test_a_tag_that_no_image_can_have_is_refused_first(
    nowhere: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(parameters, "read_environment", lambda env: {})
    assert deploy.main(["deploy", "trial", "--tag", "release/1"]) == 1
    printed = capsys.readouterr()
    assert printed.err.startswith("deploy: TAG=release/1: Tag is 'release/1', and dagster takes what ")
    assert printed.out == ""


def test_a_new_stack_is_shown_asked_for_and_made(
    account: Account, one_template: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    questions: list[str] = []

    def ask(question: str) -> bool:
        questions.append(question)
        return True

    assert deploy.one_stack(account, "data", {"Env": "trial"}, ask)
    printed = capsys.readouterr().out
    assert "carsdepo-trial-data (new): 1 made" in printed
    assert "+ Uploads (AWS::SQS::Queue) is made" in printed
    assert questions == ["Carry out these changes of carsdepo-trial-data?"]
    stack = changes.stack_of(account, "data")
    assert stack is not None
    assert stack["StackStatus"] == "CREATE_COMPLETE"
    tags = {tag["Key"]: tag["Value"] for tag in stack["Tags"]}
    assert tags == {"Project": "carsdepo", "Environment": "trial", "Component": "data"}


def test_a_no_leaves_nothing(
    account: Account, one_template: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert not deploy.one_stack(account, "data", {"Env": "trial"}, no)
    assert "nothing was changed" in capsys.readouterr().out
    assert changes.stack_of(account, "data") is None
    assert account.client("sqs").list_queues().get("QueueUrls", []) == []


@pytest.mark.parametrize("status", ["REVIEW_IN_PROGRESS", "CREATE_IN_PROGRESS"])
def test_a_no_leaves_what_another_deployment_does_meanwhile(
    account: Account, one_template: dict[str, str], monkeypatch: pytest.MonkeyPatch, status: str
) -> None:
    real = changes.described

    def another(question: str) -> bool:
        assert changes.make_change_set(account, "data", {"Env": "trial"}) is not None
        # moto makes no stack of the second of two change sets
        monkeypatch.setattr(
            changes, "described", lambda own, stack: {**(real(own, stack) or {}), "StackStatus": status}
        )
        return False

    assert not deploy.one_stack(account, "data", {"Env": "trial"}, another)
    assert real(account, "data") is not None


def test_an_update_shows_what_changes(
    account: Account, one_template: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    deploy.one_stack(account, "data", {"Env": "trial"}, yes)
    one_template["text"] = text(Uploads=TABLE, Topic={"Type": "AWS::SNS::Topic"})
    capsys.readouterr()
    assert deploy.one_stack(account, "data", {"Env": "trial"}, yes)
    printed = capsys.readouterr().out
    assert "+ Topic (AWS::SNS::Topic) is made" in printed
    assert "(new)" not in printed


def test_the_lake_of_an_earlier_deployment_is_taken_over(
    account: Account, one_template: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert deploy._lake_is_there(account) == "false"
    where = {"LocationConstraint": "eu-west-1"}
    account.client("s3").create_bucket(Bucket=account.lake, CreateBucketConfiguration=where)
    with pytest.raises(DeployError, match=r"(?s)not as a lake must be.*Status=Enabled.*EventBridgeConfiguration"):
        deploy._lake_is_there(account)
    monkeypatch.setattr(accounts, "require_lake", lambda account: None)
    assert deploy._lake_is_there(account) == "true"
    # A stack that has made the bucket itself must not let it go at its next update.
    deploy.one_stack(account, "data", {"Env": "trial"}, yes)
    assert deploy._lake_is_there(account) == "false"


@pytest.mark.parametrize(
    ("before", "now", "is_refused"),
    [(None, "s", False), ("", "", False), ("s", "s", False), ("", "s", True), ("s", "", True), ("s", "t", True)],
)
def test_a_living_database_keeps_its_snapshot(account: Account, before: str | None, now: str, is_refused: bool) -> None:
    """CloudFormation does not replace a resource with a name of its own, nor an export that another stack imports."""
    if before is not None:
        account.client("cloudformation").create_stack(
            StackName="carsdepo-trial-data",
            TemplateBody=json.dumps(
                {
                    "Parameters": {"DatabaseSnapshot": {"Type": "String"}},
                    "Resources": {"T": {"Type": "AWS::SNS::Topic"}},
                }
            ),
            Parameters=[{"ParameterKey": "DatabaseSnapshot", "ParameterValue": before}],
        )
    if is_refused:
        with pytest.raises(DeployError, match="Leave the value as it was"):
            deploy._require_same_snapshot(account, now)
    else:
        deploy._require_same_snapshot(account, now)


def test_nobody_at_the_terminal_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def ended(prompt: str) -> str:
        raise EOFError

    monkeypatch.setattr("builtins.input", ended)
    with pytest.raises(DeployError, match="YES=1"):
        deploy.asked("Carry out?")


@pytest.mark.parametrize(("answer", "taken"), [("y", True), (" YES ", True), ("", False), ("n", False), ("yep", False)])
def test_only_a_yes_is_one(answer: str, taken: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("builtins.input", lambda prompt: answer)
    assert deploy.asked("Carry out?") is taken


def test_a_call_that_aws_refuses_is_one_line(
    account: Account, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    client = account.client("sagemaker")
    monkeypatch.setattr(accounts, "open_account", lambda env: account)
    monkeypatch.setattr(Account, "client", lambda own, service: client)
    with Stubber(client) as stubber:
        stubber.add_client_error("list_endpoints", "AccessDeniedException", "you may not list endpoints")
        assert deploy.main(["destroy", "trial", "--yes"]) == 1
    assert capsys.readouterr().err == "deploy: AWS refuses ListEndpoints: you may not list endpoints\n"
