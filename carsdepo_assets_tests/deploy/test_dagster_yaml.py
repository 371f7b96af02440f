"""deploy/dagster/local-server.yaml, deploy/dagster/aws.yaml, deploy/dagster/workspace.yaml: Dagster accepts them."""

from __future__ import annotations

import re
import shutil
import warnings
from pathlib import Path
from typing import Any

import boto3
import pytest
import yaml
from dagster._core.instance.ref import InstanceRef
from dagster._core.launcher import DefaultRunLauncher
from dagster._core.remote_origin import GrpcServerCodeLocationOrigin
from dagster._core.workspace.load import location_origins_from_yaml_paths
from dagster_aws.ecs import EcsRunLauncher
from dagster_aws.s3.compute_log_manager import S3ComputeLogManager
from dagster_postgres.utils import pg_url_from_config
from moto import mock_aws
from sqlalchemy.engine import make_url

from carsdepo_assets.data.jobs import INGESTION_TAGS, ingest_labels_job, ingest_uploads_job
from carsdepo_assets.orchestration.attribution import AttributedRunCoordinator
from carsdepo_assets.settings import Settings
from carsdepo_assets.settings_aws import NEEDED

DEPLOY = Path(__file__).parents[2] / "deploy"
SERVERS = {"local-server": DEPLOY / "dagster/local-server.yaml", "aws": DEPLOY / "dagster/aws.yaml"}
# What an installation gives in its environment. "%" and "@" must not break the URL that is made of it.
GIVEN = {
    "DAGSTER_POSTGRES_HOST": "db.example",
    "DAGSTER_POSTGRES_PORT": "5432",
    "DAGSTER_POSTGRES_PASSWORD": "p%40s@word/1",
    "DAGSTER_STATE": "state",
    "DAGSTER_LOGS": "logs",
    "DAGSTER_RUN_TASK_DEFINITION": "carsdepo-run",
    "DAGSTER_LOGS_BUCKET": "carsdepo-logs",
}


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, value in GIVEN.items():
        monkeypatch.setenv(name, str(tmp_path / value) if value in ("state", "logs") else value)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    return tmp_path


def _reference(name: str, folder: Path) -> InstanceRef:
    """The instance's parts as the file configures them; Dagster checks every key of it."""
    shutil.copy(SERVERS[name], folder / "dagster.yaml")
    return InstanceRef.from_dir(str(folder))


@pytest.mark.parametrize("name", SERVERS)
def test_the_settings_that_hold_up_are_there(name: str, environment: Path) -> None:
    settings: dict[str, Any] = _reference(name, environment).settings
    monitoring, retries = settings["run_monitoring"], settings["run_retries"]
    assert monitoring["enabled"]
    assert monitoring["start_timeout_seconds"] == 1200
    assert monitoring["cancel_timeout_seconds"] >= 180
    assert monitoring["max_resume_run_attempts"] == 0
    assert monitoring["free_slots_after_run_end_seconds"] == 300
    assert retries == {"enabled": True, "max_retries": retries["max_retries"], "retry_on_asset_or_op_failure": False}
    assert settings["telemetry"] == {"enabled": False}
    runs = settings["concurrency"]["runs"]
    (limit,) = [one for one in runs["tag_concurrency_limits"] if one["key"] == "dagster/backfill"]
    assert 0 < limit["limit"] < runs["max_concurrent_runs"]


def test_batches_leave_room_for_other_runs_in_an_account(environment: Path) -> None:
    runs = _reference("aws", environment).settings["concurrency"]["runs"]
    limits = {one["key"]: one["limit"] for one in runs["tag_concurrency_limits"]}
    (key,) = INGESTION_TAGS
    assert 0 < limits[key] < runs["max_concurrent_runs"]
    assert all(INGESTION_TAGS.items() <= job.tags.items() for job in (ingest_uploads_job, ingest_labels_job))


@pytest.mark.parametrize("name", SERVERS)
def test_who_asks_for_a_run_is_recorded(name: str, environment: Path) -> None:
    coordinator = _reference(name, environment).run_coordinator
    assert isinstance(coordinator, AttributedRunCoordinator)


@pytest.mark.parametrize("name", SERVERS)
def test_secrets_come_from_the_environment_alone(name: str) -> None:
    text = SERVERS[name].read_text()
    config = yaml.safe_load(text)
    postgres = config["storage"]["postgres"]["postgres_db"]
    assert postgres["password"] == {"env": "DAGSTER_POSTGRES_PASSWORD"}
    assert postgres["scheme"] == "postgresql+psycopg2"
    assert not re.findall(r"\w+://\S+:\S+@", text)


@pytest.mark.parametrize("name", SERVERS)
def test_the_password_may_hold_any_character(name: str, environment: Path) -> None:
    storage = _reference(name, environment).storage_data
    assert storage is not None
    given = storage.config_dict["postgres_db"]
    values = {k: GIVEN[v["env"]] if isinstance(v, dict) and "env" in v else v for k, v in given.items()}
    url = make_url(pg_url_from_config({"postgres_db": values}))
    assert (url.drivername, url.username, url.host) == ("postgresql+psycopg2", "dagster", "db.example")
    assert url.password == GIVEN["DAGSTER_POSTGRES_PASSWORD"]


def test_a_servers_runs_are_processes_of_the_code_server(environment: Path) -> None:
    assert isinstance(_reference("local-server", environment).run_launcher, DefaultRunLauncher)


@pytest.mark.slow
def test_an_accounts_runs_are_tasks_with_logs_on_s3(environment: Path) -> None:
    with mock_aws():
        boto3.client("ecs").register_task_definition(
            family="carsdepo-run",
            containerDefinitions=[{"name": "run", "image": "carsdepo-orchestrator", "memory": 512}],
        )
        reference = _reference("aws", environment)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # botocore's own
            launcher, logs = reference.run_launcher, reference.compute_log_manager
    assert isinstance(launcher, EcsRunLauncher)
    assert launcher.container_name == "run"
    assert launcher.run_task_kwargs == {"propagateTags": "TASK_DEFINITION", "enableECSManagedTags": True}
    assert launcher.secrets_tags == []  # none is looked up by a tag
    assert isinstance(logs, S3ComputeLogManager)
    assert logs.upload_interval == 30


def test_the_variables_of_an_account_are_named_and_exist() -> None:
    head = SERVERS["aws"].read_text().partition("storage:")[0]
    settings = {str(field.validation_alias): name for name, field in Settings.model_fields.items()}
    named = set(re.findall(r"CARSDEPO_\w+", head))
    assert named <= set(settings)
    assert {"environment", *NEEDED, "signing_key", "verification_key", "alert_topic"} <= {settings[n] for n in named}
    given = dict(re.findall(r"(CARSDEPO_\w+)=(\S+)", head))
    assert Settings.read({k: v.replace("BUCKET", "bucket") for k, v in given.items()}).environment == "aws"


def test_the_webservers_and_the_daemon_ask_the_code_server() -> None:
    origins = location_origins_from_yaml_paths([str(DEPLOY / "dagster/workspace.yaml")])
    (origin,) = origins
    assert isinstance(origin, GrpcServerCodeLocationOrigin)
    assert origin.location_name == "carsdepo"
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    assert origin.host in compose["services"]
    assert str(origin.port) in compose["services"][origin.host]["command"]
