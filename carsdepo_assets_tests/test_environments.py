"""environments.py, settings_aws.py, lake/aws_access.py: an AWS account has the same graph, and says what it lacks."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from carsdepo_assets.definitions import graph
from carsdepo_assets.environments import resources
from carsdepo_assets.lake.aws_access import AwsNotReady, region_name, require_access
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.settings import Settings
from carsdepo_assets.settings_aws import NEEDED, is_bucket
from carsdepo_assets_tests.aws_account import account, nowhere, without_aws
from carsdepo_assets_tests.test_definitions import BANNED, ROOT

KEYS = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing"}


def test_an_account_lacks_nothing_that_is_set(tmp_path: Path) -> None:
    settings = Settings.read(account(tmp_path))
    assert settings.environment == "aws"
    assert settings.metrics_namespace == "Carsdepo"
    assert Settings.read(settings.variables() | settings.secrets()) == settings
    assert Settings.read({}, home=tmp_path).metrics_namespace is None
    assert Settings.read({"CARSDEPO_METRICS_NAMESPACE": "Mine"}, home=tmp_path).metrics_namespace == "Mine"


def test_everything_that_an_account_lacks_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(ValueError) as error:
        Settings.read({"CARSDEPO_ENVIRONMENT": "aws", "CARSDEPO_DAGSTER_PORT": "80O1"}, home=tmp_path)
    text = str(error.value)
    for variable in ("CARSDEPO_LAKE", "CARSDEPO_MLFLOW", "CARSDEPO_COMPUTE", "CARSDEPO_PIPES_BUCKET"):
        assert f"CARSDEPO_ENVIRONMENT=aws needs {variable}, and " in text
    assert text.count("set it to ") == len(NEEDED)
    assert len(text.splitlines()) == len(NEEDED) + 1, "each on a line of its own"
    assert "CARSDEPO_DAGSTER_PORT='80O1' is no port" in text
    assert "default factory" not in text


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("CARSDEPO_LAKE", "/data/lake", "CARSDEPO_LAKE, and /data/lake will not do: set it to s3://BUCKET/lake"),
        ("CARSDEPO_LAKE", "s3://", "CARSDEPO_LAKE, and s3:// will not do"),
        ("CARSDEPO_LAKE", "s3://Not_A_Bucket/lake", "CARSDEPO_LAKE, and s3://Not_A_Bucket/lake will not do"),
        ("CARSDEPO_LAKE", "s3://me:secret-word@bucket/lake", "CARSDEPO_LAKE holds a user or a password"),
        (
            "CARSDEPO_MLFLOW",
            "sqlite:///secret-word.db",
            "CARSDEPO_MLFLOW, and its value will not do: set it to the http(s)",
        ),
        ("CARSDEPO_MLFLOW", "http://", "CARSDEPO_MLFLOW, and its value will not do"),
        ("CARSDEPO_PIPES_BUCKET", "s3://carsdepo-jobs", "CARSDEPO_PIPES_BUCKET, and its value will not do"),
        ("CARSDEPO_COMPUTE", "", "CARSDEPO_COMPUTE, and it is not set"),
        ("CARSDEPO_ALERT_TOPIC", "carsdepo-alerts", "CARSDEPO_ALERT_TOPIC='carsdepo-alerts' is no ARN of an SNS topic"),
        ("CARSDEPO_ALERT_TOPIC", "arn:aws:sns:eu-west-1:123456789012:alerts.fifo", "is a FIFO topic"),
        ("CARSDEPO_METRICS_NAMESPACE", "AWS/ECS", "CARSDEPO_METRICS_NAMESPACE='AWS/ECS' is no namespace"),
        ("CARSDEPO_METRICS_NAMESPACE", "n" * 256, "is no namespace"),
    ],
)
def test_a_wrong_setting_of_an_account_is_named_and_no_secret_shown(
    variable: str, value: str, message: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError) as error:
        Settings.read(account(tmp_path, **{variable: value}))
    assert message in str(error.value)
    assert str(error.value).count("CARSDEPO_ENVIRONMENT=aws needs") <= 1
    assert "secret-word" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "is_one"),
    [("carsdepo-jobs", True), ("a.b-c1", True), ("ab", False), ("a..b", False), ("1.2.3.4", False), ("-a-", False)],
)
def test_names_of_buckets(name: str, is_one: bool) -> None:
    assert is_bucket(name) == is_one


def test_the_graph_is_the_same_and_only_resources_differ(tmp_path: Path) -> None:
    here = graph(resources(Settings.read({}, home=tmp_path / "home")))
    there = graph(resources(Settings.read(account(tmp_path))))
    assert set(here.resources or {}) == set(there.resources or {})
    here_assets, there_assets = here.resolve_asset_graph(), there.resolve_asset_graph()
    assert here_assets.get_all_asset_keys() == there_assets.get_all_asset_keys()
    assert here_assets.asset_check_keys == there_assets.asset_check_keys
    assert {j.name for j in here.resolve_all_job_defs()} == {j.name for j in there.resolve_all_job_defs()}
    assert [s.name for s in here.sensors or []] == [s.name for s in there.sensors or []]
    assert [s.name for s in here.schedules or []] == [s.name for s in there.schedules or []]
    assert (there.resources or {})["compute"].place_of("candidate_model") == "sagemaker"


@pytest.mark.slow
def test_loading_in_an_account_needs_no_credentials_and_no_boto3_and_the_first_use_says_what_is_missing(
    tmp_path: Path,
) -> None:
    code = (
        "import json, sys\nfrom carsdepo_assets.definitions import defs\nloaded = defs()\n"
        f"print(json.dumps([m for m in {(*BANNED, 'botocore')!r} if m in sys.modules]))\n"
        "try:\n    loaded.resources['lake'].open()\n"
        "except Exception as error:\n"
        "    print(json.dumps([str(error), error.__cause__ is None, error.__context__ is None]))"
    )
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "CARSDEPO_"))}
    env = kept | nowhere(tmp_path) | account(tmp_path)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT, env=env)
    imported, first_use = map(json.loads, done.stdout.splitlines())
    assert imported == []
    assert first_use == [
        "This process has no AWS credentials: give its task or machine a role, or set AWS_ACCESS_KEY_ID and "
        "AWS_SECRET_ACCESS_KEY. This process knows no AWS region: set AWS_DEFAULT_REGION, or `region` of the profile "
        "in ~/.aws/config.",
        True,
        True,
    ]


@pytest.mark.parametrize(
    ("env", "lacks"),
    [
        (KEYS | {"AWS_DEFAULT_REGION": "eu-west-1"}, ()),
        (KEYS | {"AWS_REGION": "eu-west-1"}, ()),
        (KEYS, ("region",)),
        ({"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": "/x", "AWS_REGION": "r"}, ()),
        ({"AWS_WEB_IDENTITY_TOKEN_FILE": "f", "AWS_ROLE_ARN": "r", "AWS_REGION": "r"}, ()),
        ({"AWS_ACCESS_KEY_ID": "alone", "AWS_REGION": "r"}, ("credentials",)),
        ({}, ("credentials", "region")),
        ({"AWS_PROFILE": "not-there"}, ("credentials", "region")),
    ],
)
def test_what_a_process_lacks_for_aws(
    env: Mapping[str, str], lacks: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_aws(monkeypatch, nowhere(tmp_path) | env)
    if not lacks:
        return require_access(env, region=True)
    with pytest.raises(AwsNotReady) as error:
        require_access(env, region=True)
    assert [one for one in ("credentials", "region") if one in str(error.value)] == list(lacks)
    return None


def test_a_profiles_region_counts_and_its_keys_must_be_handed_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "none").write_text("[default]\nregion = eu-north-1\naws_access_key_id = a\naws_secret_access_key = b\n")
    without_aws(monkeypatch, nowhere(tmp_path))
    assert region_name({}) == "eu-north-1"
    with pytest.raises(AwsNotReady, match=r"in a profile \(by shared-credentials-file\).*aws configure export"):
        require_access({}, region=True)


def test_a_lake_on_s3_says_it_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without_aws(monkeypatch, nowhere(tmp_path))
    monkeypatch.setattr("carsdepo_assets.lake.aws_access._settled", set())
    with pytest.raises(AwsNotReady, match="no AWS credentials"):
        Lake.open("s3://carsdepo-lake/lake")
