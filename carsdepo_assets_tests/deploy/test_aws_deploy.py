"""deploy/aws/deploy.py, deploy/aws/changes.py, deploy/aws/account.py, deploy/aws/teardown.py: an account is changed.

moto is the account here; the whole templates are made by ministack, in deploy/aws/test_on_ministack.py.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from botocore.stub import Stubber

from deploy.aws import account as accounts
from deploy.aws import changes, deploy, log_retention, parameters, teardown
from deploy.aws.account import Account, DeployError

SIZE = [{"Target": {"Attribute": "Properties", "Name": "Size"}}]
TABLE = {"Type": "AWS::SQS::Queue", "Properties": {"QueueName": "carsdepo-trial-uploads"}}


def text(**resources: Any) -> str:
    return json.dumps({"Parameters": {"Env": {"Type": "String"}}, "Resources": resources})


@pytest.fixture
def one_template(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Every stack has this template; the test may change it."""
    content = {"text": text(Uploads=TABLE)}
    monkeypatch.setattr(changes, "text_of", lambda stack: content["text"])
    return content


def yes(question: str) -> bool:
    return True


def no(question: str) -> bool:
    return False


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


@pytest.mark.parametrize(
    ("versioning", "notification", "lacks"),
    [
        ({"Status": "Enabled"}, {"EventBridgeConfiguration": {}}, []),
        ({"Status": "Suspended"}, {"EventBridgeConfiguration": {}}, ["put-bucket-versioning"]),
        ({}, {}, ["put-bucket-versioning", "put-bucket-notification-configuration"]),
        ({"Status": "Enabled"}, {"QueueConfigurations": []}, ["put-bucket-notification-configuration"]),
    ],
)
def test_a_lake_that_is_taken_over_must_be_one(
    account: Account, monkeypatch: pytest.MonkeyPatch,
    versioning: dict[str, Any], notification: dict[str, Any], lacks: list[str],
) -> None:  # fmt: skip
    client = account.client("s3")
    monkeypatch.setattr(Account, "client", lambda own, service: client)
    with Stubber(client) as stubber:
        stubber.add_response("get_bucket_versioning", versioning)
        stubber.add_response("get_bucket_notification_configuration", notification)
        if not lacks:
            accounts.require_lake(account)
            return
        with pytest.raises(DeployError) as said:
            accounts.require_lake(account)
    assert [line.split()[2] for line in str(said.value).splitlines()[1:]] == lacks


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


def test_destroy_says_what_stays_and_asks(
    account: Account, one_template: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    deploy.one_stack(account, "data", {"Env": "trial"}, yes)
    capsys.readouterr()
    assert not deploy.destroy(account, no)
    printed = capsys.readouterr().out
    assert "removed are the stacks data" in printed
    assert f"the lake: s3://{account.lake}" in printed
    assert "backups: the snapshot" in printed
    assert printed.endswith("Nothing was removed.\n")
    assert changes.stack_of(account, "data") is not None


def test_destroy_removes_stacks_logs_and_endpoints(account: Account, one_template: dict[str, str]) -> None:
    s3, sagemaker = account.client("s3"), account.client("sagemaker")
    where = {"LocationConstraint": "eu-west-1"}
    for bucket in (account.lake, account.logs):
        s3.create_bucket(Bucket=bucket, CreateBucketConfiguration=where)
        s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
        for _ in range(2):
            s3.put_object(Bucket=bucket, Key="a", Body=b"a")
        s3.delete_object(Bucket=bucket, Key="a")
    role = "arn:aws:iam::123456789012:role/r"
    sagemaker.create_model(ModelName="m", ExecutionRoleArn=role, PrimaryContainer={"Image": "i"})
    for name in ("carsdepo-trial-production", "carsdepo-other-production"):
        variant = {"VariantName": "served", "ModelName": "m", "InstanceType": "ml.m5.large", "InitialInstanceCount": 1}
        sagemaker.create_endpoint_config(EndpointConfigName=name, ProductionVariants=[variant])
        sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=name)
    deploy.one_stack(account, "data", {"Env": "trial"}, yes)
    assert deploy.destroy(account, yes, wait=lambda seconds: None)
    assert changes.stack_of(account, "data") is None
    assert [e["EndpointName"] for e in sagemaker.list_endpoints()["Endpoints"]] == ["carsdepo-other-production"]
    assert "Versions" not in s3.list_object_versions(Bucket=account.logs)
    assert len(s3.list_object_versions(Bucket=account.lake)["Versions"]) == 2


def test_nothing_to_destroy_is_said(account: Account, capsys: pytest.CaptureFixture[str]) -> None:
    assert deploy.destroy(account, no)
    assert "There is nothing of the environment trial" in capsys.readouterr().out


def test_names_of_deleted_secrets_are_freed_and_secrets_in_use_stay(account: Account) -> None:
    secrets = account.client("secretsmanager")
    for name in ("database", "api-key"):
        secrets.create_secret(Name=f"carsdepo/trial/{name}", SecretString="x")
    secrets.delete_secret(SecretId="carsdepo/trial/database")
    teardown.forget_secrets(account)
    secrets.create_secret(Name="carsdepo/trial/database", SecretString="y")
    assert secrets.get_secret_value(SecretId="carsdepo/trial/api-key")["SecretString"] == "x"


def test_a_removal_that_was_cut_off_at_its_end_is_ended_by_the_next_one(account: Account) -> None:
    secrets, logs = account.client("secretsmanager"), account.client("logs")
    secrets.create_secret(Name="carsdepo/trial/database", SecretString="x")
    secrets.delete_secret(SecretId="carsdepo/trial/database")
    for group in log_retention.groups_of("trial"):
        logs.create_log_group(logGroupName=group)
    assert deploy.destroy(account, no)
    secrets.create_secret(Name="carsdepo/trial/database", SecretString="y")
    assert logs.describe_log_groups()["logGroups"] == []


def test_a_stack_that_is_made_anew_can_have_its_secret_again(account: Account, one_template: dict[str, str]) -> None:
    secrets = account.client("secretsmanager")
    secrets.create_secret(Name="carsdepo/trial/database", SecretString="of the stack that never came up")
    deploy.one_stack(account, "data", {"Env": "trial"}, yes)
    secrets.delete_secret(SecretId="carsdepo/trial/database")  # as the stack's rollback does
    teardown.remove_stack(account, "data", lambda seconds: None)
    secrets.create_secret(Name="carsdepo/trial/database", SecretString="y")


def test_signing_keys_that_somebody_deleted_are_restored(account: Account) -> None:
    secrets, arn = account.client("secretsmanager"), accounts.ensure_signing_keys(account)
    before = secrets.get_secret_value(SecretId=arn)["SecretString"]
    secrets.delete_secret(SecretId=arn)
    assert accounts.ensure_signing_keys(account) == arn
    assert secrets.get_secret_value(SecretId=arn)["SecretString"] == before


def test_two_that_make_signing_keys_at_once_have_the_same(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    real, arns = accounts._new_keys, list[str]()

    def after_another() -> tuple[str, str]:
        monkeypatch.setattr(accounts, "_new_keys", real)
        arns.append(accounts.ensure_signing_keys(account))
        return real()

    monkeypatch.setattr(accounts, "_new_keys", after_another)
    assert [accounts.ensure_signing_keys(account)] == arns


def test_a_secret_of_another_form_lacks_its_keys(account: Account) -> None:
    secrets = account.client("secretsmanager")
    secrets.create_secret(Name="carsdepo/trial/oidc", SecretBinary=b"x")
    with pytest.raises(DeployError, match="lacks approvers_client_id"):
        accounts.require_secret(account, "carsdepo/trial/oidc", deploy.OIDC_KEYS)


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
