"""deploy/aws/account.py, deploy/aws/images.py, deploy/aws/smoke.py: what must be there, and one photograph is sent."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.stub import Stubber

from deploy.aws import account as accounts
from deploy.aws import deploy, images, smoke
from deploy.aws.account import Account, DeployError
from deploy.aws.front_handler import MOST_BYTES

ROOT = Path(__file__).parents[2]


def test_credentials_that_aws_refuses_are_said() -> None:
    session = boto3.Session("x", "x", region_name="eu-west-1")
    client = session.client("sts")
    with Stubber(client) as stubber, pytest.MonkeyPatch.context() as patch:
        stubber.add_client_error("get_caller_identity", "ExpiredToken", "The security token is expired")
        patch.setattr(session, "client", lambda service: client)
        with pytest.raises(DeployError, match="does not take the credentials: The security token is expired"):
            accounts.open_account("trial", session)


@pytest.mark.parametrize("variable", ["AWS_REGION", "AWS_DEFAULT_REGION"])
def test_either_variable_names_the_region(account: Account, monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nothing/here")
    with pytest.raises(DeployError, match="No region is named: set AWS_REGION or AWS_DEFAULT_REGION"):
        accounts.open_account("trial")
    monkeypatch.setenv(variable, "eu-west-3")
    assert accounts.open_account("trial").region == "eu-west-3"


@pytest.mark.parametrize("env", ["--force", "Prod", "prod_1"])
def test_no_image_is_sought_for_what_is_no_environment(env: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert images.main(["missing", env, "1.0"]) == 1
    assert capsys.readouterr().err.startswith(f"push-images: ENV={env}: 2 to 12 small letters and digits")


def push_images(folder: Path, *arguments: str, missing: str = "") -> subprocess.CompletedProcess[str]:
    """deploy/aws/push-images with a PATH that has a stand-in of podman, but neither docker nor buildah."""
    folder.mkdir()
    for name in ("bash", "basename", "dirname", "env", "head", "sed"):
        (folder / name).symlink_to(Path(str(shutil.which(name))).resolve())
    engine = f'echo "podman $*" >>{folder}/calls; [ "$1" != login ] || read -r word'
    for name, text in (("podman", engine), ("python", _ANSWERS)):
        (folder / name).write_text(f"#!/usr/bin/env bash\n{text}\n")
        (folder / name).chmod(0o755)
    variables = {"PATH": str(folder), "PYTHON": str(folder / "python"), "MISSING": missing}
    command = [str(ROOT / "deploy" / "aws" / "push-images"), *arguments]
    return subprocess.run(command, env=variables, capture_output=True, text=True, check=False)


_ANSWERS = 'case $3 in missing) echo "$MISSING" ;; registry) echo registry.example/trial ;; password) echo word ;; esac'


def test_push_images_says_how_it_is_called_and_takes_the_engine_that_is_there(tmp_path: Path) -> None:
    helped = push_images(tmp_path / "helped", "--help")
    assert (helped.returncode, helped.stderr) == (0, "")
    assert "deploy/aws/push-images ENV [TAG]" in helped.stdout
    wrong = push_images(tmp_path / "wrong")
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert "deploy/aws/push-images ENV [TAG]" in wrong.stderr
    there = push_images(tmp_path / "there", "trial", "1.0")
    assert (there.returncode, there.stdout) == (0, "ECR has every image with the tag 1.0.\n")
    assert not (tmp_path / "there" / "calls").exists()
    pushed = push_images(tmp_path / "pushed", "trial", "1.0", missing="service")
    assert pushed.returncode == 0, pushed.stderr
    calls = (tmp_path / "pushed" / "calls").read_text().splitlines()
    assert [call.split()[1] for call in calls] == ["login", "build", "push"]
    assert calls[-1] == "podman push registry.example/trial/carsdepo-service:1.0"


def test_images_that_are_missing_are_named(account: Account) -> None:
    ecr = account.client("ecr")
    for image in ("orchestrator", "service", "worker-cpu"):
        ecr.create_repository(repositoryName=f"trial/carsdepo-{image}")
    kind = "application/vnd.docker.distribution.manifest.v2+json"
    manifest = json.dumps({"schemaVersion": 2, "mediaType": kind, "config": {}, "layers": []})
    ecr.put_image(repositoryName="trial/carsdepo-service", imageManifest=manifest, imageTag="1.0")
    missing = accounts.missing_images(account, "1.0")
    assert missing == ["trial/carsdepo-orchestrator", "trial/carsdepo-worker", "trial/carsdepo-worker-cpu"]
    assert images.to_build(account, "1.0") == ["orchestrator", "worker-cuda", "worker-cpu"]
    with pytest.raises(DeployError, match=r"(?s)no image with the tag 1\.0.*push-images trial 1\.0$") as said:
        deploy._require_images(account, "1.0")
    assert "trial/carsdepo-service" not in str(said.value)


def test_signing_keys_are_made_once(account: Account) -> None:
    first = accounts.ensure_signing_keys(account)
    keys = json.loads(account.client("secretsmanager").get_secret_value(SecretId=first)["SecretString"])
    assert keys["private"].startswith("-----BEGIN PRIVATE KEY-----")
    assert keys["public"].startswith("-----BEGIN PUBLIC KEY-----")
    assert accounts.ensure_signing_keys(account) == first
    assert json.loads(account.client("secretsmanager").get_secret_value(SecretId=first)["SecretString"]) == keys


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


@pytest.mark.parametrize("secret", [None, "{}", "no JSON", "[]", '{"a": ""}'])
def test_a_secret_that_lacks_keys_is_said(account: Account, secret: str | None) -> None:
    if secret is not None:
        account.client("secretsmanager").create_secret(Name="carsdepo/trial/oidc", SecretString=secret)
    with pytest.raises(DeployError, match="carsdepo/trial/oidc lacks a"):
        accounts.require_secret(account, "carsdepo/trial/oidc", ("a",))


def test_a_secret_that_has_its_keys_is_enough(account: Account) -> None:
    account.client("secretsmanager").create_secret(Name="carsdepo/trial/oidc", SecretString='{"a": "1"}')
    accounts.require_secret(account, "carsdepo/trial/oidc", ("a",))


def test_a_secret_of_another_form_lacks_its_keys(account: Account) -> None:
    secrets = account.client("secretsmanager")
    secrets.create_secret(Name="carsdepo/trial/oidc", SecretBinary=b"x")
    with pytest.raises(DeployError, match="lacks approvers_client_id"):
        accounts.require_secret(account, "carsdepo/trial/oidc", deploy.OIDC_KEYS)


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


def test_smoke_without_a_front_says_so(account: Account) -> None:
    with pytest.raises(DeployError, match="There is no front: make deploy ENV=trial"):
        smoke.run(account, "a.jpg", b"jpeg")


def test_a_photograph_that_smoke_cannot_send_is_said_before_the_account_is_asked(
    nowhere: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "large.jpg").write_bytes(bytes(MOST_BYTES))
    for name, said in (
        ("nowhere.jpg", r"nowhere\.jpg cannot be read: No such file"),
        ("", "cannot be read: Is a directory"),
        ("large.jpg", r"large\.jpg has 4500000 bytes, and the front takes 4500000 with the form"),
    ):
        assert deploy.main(["smoke", "trial", "--photograph", str(tmp_path / name)]) == 1
        assert re.search(said, capsys.readouterr().err)


@pytest.mark.parametrize("answer", [{}, {"model": None}, {"model": {}}, []])
def test_an_answer_that_names_no_model_is_said(account: Account, monkeypatch: pytest.MonkeyPatch, answer: Any) -> None:
    monkeypatch.setattr(smoke, "outputs_of", lambda account, stack: {"Url": "https://front.example"})
    monkeypatch.setattr(smoke, "api_key", lambda account: "key")
    monkeypatch.setattr(smoke, "inspect", lambda *arguments: answer)
    with pytest.raises(DeployError, match="names no model"):
        smoke.run(account, "a.jpg", b"jpeg")


@pytest.mark.parametrize("name", ["a b+ü.jpg", 'quo"te.jpg', "back\\slash.jpg"])
def test_the_form_of_smoke_is_what_the_service_reads(name: str) -> None:
    import asyncio

    from starlette.requests import Request

    from carsdepo_assets.inference.requests import read_form
    from carsdepo_assets.policy import InferencePolicy

    sent = smoke.question("https://front.example", "the key", name, b"\r\n--x\xff")
    body, content_type = sent.read(), sent.headers["content-type"]
    assert (str(sent.url), sent.headers["x-api-key"]) == ("https://front.example/v1/inspections", "the key")

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    scope = {"type": "http", "method": "POST", "headers": [(b"content-type", content_type.encode())]}

    async def read() -> tuple[bytes, dict[str, str]]:
        [photograph] = await read_form(Request(scope, receive), InferencePolicy())
        content = photograph.read()
        photograph.close()
        return content, photograph.client_fields

    assert asyncio.run(read()) == (b"\r\n--x\xff", {"source": "validation"})
