"""deploy/aws/deploy.py, deploy/aws/teardown.py: `destroy` says what stays and removes the rest, moto's account here."""

from __future__ import annotations

import pytest

from carsdepo_assets_tests.deploy.emulated_stack import no, one_template, yes
from deploy.aws import changes, deploy, log_retention, teardown
from deploy.aws.account import Account

__all__ = ["one_template"]


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
