"""release/sagemaker_settings.py: the file of the endpoints is checked as a whole, and errors name file and key."""

from __future__ import annotations

from pathlib import Path

import pytest

from carsdepo_assets.environments import resources
from carsdepo_assets.release.sagemaker_services import SageMakerServicesResource
from carsdepo_assets.release.sagemaker_settings import EndpointsSettingsError, read_endpoints
from carsdepo_assets.settings import Settings
from carsdepo_assets_tests.release.sagemaker_world import FILE

LAKE = "s3://carsdepo/lake"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])  # Windows' Notepad begins files with a mark
def test_the_file_is_read(tmp_path: Path, encoding: str) -> None:
    file = tmp_path / "endpoints.toml"
    file.write_text(FILE, encoding=encoding)
    settings = read_endpoints(file, LAKE)
    assert settings.production.canary is not None
    assert (settings.production.canary.alarms, settings.stage("staging").idle_minutes) == (("carsdepo-errors",), 60)
    assert (settings.capture.percent, settings.prefix) == (100, "carsdepo-serving")


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('region = "us-east-1"', "", "region: Field required"),
        ('region = "us-east-1"', 'region = "mars"', "region: String should match pattern"),
        ('bucket = "carsdepo"', 'bucket = "Cars_depo"', "bucket: 'Cars_depo' is no name of a bucket"),
        ('bucket = "carsdepo"', 'bucket = "carsdepo"\nbuckets = 1', "buckets: no such key"),
        ('bucket = "carsdepo"', 'bucket = "carsdepo"\nprefix = "/a/"', "prefix: one or more folders"),
        ("ecr.us-east-1", "ecr.eu-west-1", "image: of eu-west-1, and SageMaker takes images of its own region"),
        ("instances = 2", "instances = 1", "production: a canary is at most half of the instances"),
        ("instances = 2", 'instances = "2"', "production.instances: Input should be a valid integer"),
        ("instances = 2", "instances = 2\nidle_minutes = 60", "production is never removed"),
        ("percent = 50", "percent = 60", "production.canary.percent: Input should be less than or equal to 50"),
        ("minutes = 10", "minutes = 10, size = 3", "production.canary.size: no such key"),
        ("carsdepo-production", "carsdepo-staging", "staging and production have the same endpoint"),
        ("carsdepo-production", "carsdepo_production", "production.endpoint: String should match pattern"),
        ("[production]", "[capture]\npercent = 0\n[production]", "capture.percent: Input should be greater than or"),
        ("arn:aws:iam", "arn:iam", "role: String should match pattern"),
        ('"ml.m5.large"', '"m5.large"', "staging.instance_type: String should match pattern"),
        ("[staging]", 'subnets = ["subnet-1"]\n[staging]', "subnets and security_groups are set together"),
        ("instances = 2", "instances = 2\nmulti_model = {}", "production.multi_model: staging has none"),
        ("idle_minutes = 60", "multi_model = { candidate = true }", "staging.multi_model.candidate: a candidate is"),
        ("idle_minutes = 60", "multi_model = { kept = 1 }", "staging.multi_model.kept: Input should be greater than"),
        (
            'instance_type = "ml.m5.large"\nidle_minutes = 60',
            'instance_type = "ml.g5.xlarge"\nmulti_model = {}',
            "staging: multi_model is for instances without GPU, and ml.g5.xlarge has one",
        ),
        ("[staging]", "[staging", "not TOML"),
    ],
)
def test_a_mistake_is_named_with_file_and_key(tmp_path: Path, old: str, new: str, says: str) -> None:
    file = tmp_path / "endpoints.toml"
    assert old in FILE
    file.write_text(FILE.replace(old, new))
    with pytest.raises(EndpointsSettingsError) as raised:
        read_endpoints(file, LAKE)
    assert str(file) in str(raised.value)
    assert says in str(raised.value)


def test_a_missing_file_and_a_lake_in_a_folder_are_said(tmp_path: Path) -> None:
    file = tmp_path / "endpoints.toml"
    with pytest.raises(EndpointsSettingsError, match="which CARSDEPO_ENDPOINTS names: No such file"):
        read_endpoints(file, LAKE)
    file.write_text(FILE)
    with pytest.raises(EndpointsSettingsError, match="set CARSDEPO_LAKE to s3://BUCKET/PREFIX"):
        read_endpoints(file, str(tmp_path / "lake"))


def test_the_environment_has_endpoints_as_services_where_the_variable_is_set(tmp_path: Path) -> None:
    file = tmp_path / "endpoints.toml"
    file.write_text(FILE)
    env = {"CARSDEPO_ENDPOINTS": str(file), "CARSDEPO_LAKE": LAKE}
    services = resources(Settings.read(env, home=tmp_path))["services"]
    assert isinstance(services, SageMakerServicesResource)
    assert services.settings() == read_endpoints(file, LAKE)
    assert services.captured("staging").folder == "capture/sagemaker/carsdepo-staging/served"
    assert "us-east-1.console.aws.amazon.com" in services.url("production")
    without = resources(Settings.read({}, home=tmp_path))["services"]
    assert not isinstance(without, SageMakerServicesResource)
