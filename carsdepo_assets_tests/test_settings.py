"""settings.py, settings_fields.py: where a setting comes from, what a bad one is answered with; secrets stay secret."""

from __future__ import annotations

from pathlib import Path

import pytest

from carsdepo_assets.settings import Settings

FULL = {
    "CARSDEPO_HOME": "/somewhere/home",
    "CARSDEPO_LAKE": "s3://bucket/lake",
    "CARSDEPO_UPLOADS_QUEUE": "https://sqs.eu-west-1.amazonaws.com/123456789012/uploads",
    "CARSDEPO_LABELS_QUEUE": "http://127.0.0.1:4566/000000000000/labels",
    "CARSDEPO_INVENTORY": "s3://inventories/all/bucket/daily",
    "CARSDEPO_POLICY": "/somewhere/policy.toml",
    "CARSDEPO_POLICY_FOLDER": "/somewhere",
    "CARSDEPO_PIPES_BUCKET": "bucket",
    "CARSDEPO_MLFLOW": "https://user:password@mlflow.example/",
    "CARSDEPO_STUDIES": "postgresql://user:password@db.example/optuna",
    "CARSDEPO_DAGSTER_PORT": "3100",
    "CARSDEPO_MLFLOW_PORT": "5100",
    "CARSDEPO_PRODUCTION_PORT": "8100",
    "CARSDEPO_STAGING_PORT": "8101",
    "CARSDEPO_PRODUCTION_URL": "https://production.example/",
    "CARSDEPO_STAGING_URL": "https://staging.example",
    "CARSDEPO_SITE_ADDRESS": "https://cars.example:8000",
    "CARSDEPO_DAGSTER_ADDRESS": "https://cars.example",
    "CARSDEPO_MLFLOW_ADDRESS": "https://cars.example:5000",
    "CARSDEPO_API_KEY": "the key",
    "CARSDEPO_ALERT_WEBHOOK": "https://hooks.example/token",
    "CARSDEPO_ALERT_URLS": "slack://a/b/c  mailto://d",
    "CARSDEPO_ALLOWED_HOSTS": "cars.example *",
    "CARSDEPO_ALERT_TOPIC": "arn:aws:sns:eu-west-1:123456789012:carsdepo-alerts",
    "CARSDEPO_METRICS_NAMESPACE": "Carsdepo/staging",
}
S3 = {"CARSDEPO_LAKE": "s3://bucket/lake"}
QUEUE = {"CARSDEPO_UPLOADS_QUEUE": FULL["CARSDEPO_UPLOADS_QUEUE"]}
SECRETS = (
    "CARSDEPO_API_KEY",
    "CARSDEPO_ALERT_WEBHOOK",
    "CARSDEPO_ALERT_URLS",
    "CARSDEPO_MLFLOW",
    "CARSDEPO_STUDIES",
)


def test_every_variable_is_read_and_handed_to_children(tmp_path: Path) -> None:
    settings = Settings.read(FULL | {"CARSDEPO_HOME": str(tmp_path)})
    handed = settings.variables() | settings.secrets()
    expected = FULL | {"CARSDEPO_HOME": str(tmp_path), "CARSDEPO_ALERT_URLS": "slack://a/b/c mailto://d"}
    assert {name: handed[name] for name in FULL} == expected
    assert Settings.read(handed) == settings
    assert settings.service_url("production") == "https://production.example"


def test_an_argument_goes_before_the_environment_and_that_before_defaults(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CARSDEPO_MLFLOW_PORT", "5999")
    assert Settings.read({}).mlflow_port == 5000  # the given environment alone counts
    assert Settings.read().mlflow_port == 5999
    assert Settings(home=tmp_path).mlflow_port == 5000  # the constructor reads no variable
    variables = {"CARSDEPO_HOME": "there", "CARSDEPO_DAGSTER_PORT": ""}
    settings = Settings.read(variables)
    assert (settings.home, settings.lake) == (tmp_path / "there", str(tmp_path / "there" / "lake"))
    assert (settings.policy_folder, settings.dagster_port) == (tmp_path, 3000)  # an empty variable is as if not set
    assert Settings.read(variables, home=tmp_path / "here").home == tmp_path / "here"
    assert Settings.read({"home": "/other", "carsdepo_home": "/other"}).home == tmp_path / ".carsdepo"


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"CARSDEPO_MLFLOW_PORT": "80O1"}, "CARSDEPO_MLFLOW_PORT='80O1' is no port: set a number from 1 to 65535."),
        ({"CARSDEPO_DAGSTER_PORT": "65536"}, "CARSDEPO_DAGSTER_PORT='65536' is no port"),
        ({"CARSDEPO_HOME": "/data/a?b"}, "CARSDEPO_HOME='/data/a?b' cannot hold the databases of Dagster and MLflow"),
        ({"CARSDEPO_HOME": "/data/50%20"}, "Choose a folder without them."),
        ({"CARSDEPO_STAGING_PORT": "٣"}, "CARSDEPO_STAGING_PORT='٣' is no port"),
        ({"CARSDEPO_LAKE": "s3://me:secret-word@bucket"}, "CARSDEPO_LAKE holds a user or a password"),
        ({"CARSDEPO_STAGING_URL": "http://me:secret-word@there"}, "CARSDEPO_STAGING_URL holds a user or a password"),
        ({"CARSDEPO_API_KEY": "secret-word\n"}, "CARSDEPO_API_KEY begins or ends with a space"),
        (QUEUE, "CARSDEPO_UPLOADS_QUEUE is set, and the lake is "),
        (
            {"CARSDEPO_LAKE": "/srv/lake", "CARSDEPO_INVENTORY": "s3://a/b"},
            "CARSDEPO_INVENTORY is set, and the lake is",
        ),
        (
            S3 | {"CARSDEPO_LABELS_QUEUE": "arn:aws:sqs:eu-west-1:1:labels"},
            "CARSDEPO_LABELS_QUEUE is not the URL of an",
        ),
        (S3 | {"CARSDEPO_LABELS_QUEUE": "https://me:secret-word@a/1/labels"}, "CARSDEPO_LABELS_QUEUE is not the URL"),
        (S3 | {"CARSDEPO_MODELS_QUEUE": "models"}, "CARSDEPO_MODELS_QUEUE is not the URL of an"),
        (S3 | {"CARSDEPO_INVENTORY": "s3://inventories"}, "CARSDEPO_INVENTORY='s3://inventories' names no folder"),
        ({"CARSDEPO_ENVIRONMENT": "mars"}, "CARSDEPO_ENVIRONMENT: Input should be 'local' or 'aws'"),
    ],
)
def test_a_bad_variable_is_named_and_no_secret_is_shown(variables: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError) as error:
        Settings.read(variables)
    assert message in str(error.value)
    assert "secret-word" not in str(error.value)


def test_secrets_are_in_no_text_and_not_among_the_variables(tmp_path: Path) -> None:
    settings = Settings.read(FULL, home=tmp_path)
    shown = repr(settings) + str(settings.model_dump()) + settings.model_dump_json() + str(settings.variables())
    for secret in ("the key", "password", "hooks.example", "slack://"):
        assert secret not in shown
    assert set(settings.secrets()) == set(SECRETS)
    assert not set(settings.variables()) & set(SECRETS)


def test_a_server_has_a_dagster_yaml_of_its_own(tmp_path: Path) -> None:
    folder = tmp_path / "dagster"
    settings = Settings.read({"CARSDEPO_DAGSTER_HOME": str(folder)}, home=tmp_path / "home")
    with pytest.raises(FileNotFoundError, match=r"CARSDEPO_DAGSTER_HOME=.* has no dagster.yaml"):
        settings.dagster_home()
    folder.mkdir()
    (folder / "dagster.yaml").write_text("telemetry:\n  enabled: false\n")
    assert settings.dagster_home() == folder
    assert settings.variables()["DAGSTER_HOME"] == str(folder)
    assert (folder / "dagster.yaml").read_text() == "telemetry:\n  enabled: false\n"


def test_links_lead_where_people_reach_the_pages(tmp_path: Path) -> None:
    here = Settings.read({"CARSDEPO_PRODUCTION_URL": "http://production:8000/"}, home=tmp_path)
    assert (here.site_for_people, here.dagster_for_people) == ("http://production:8000", "http://127.0.0.1:3000")
    served = Settings.read(
        {"CARSDEPO_MLFLOW": "http://u:secret@mlflow:5000", "CARSDEPO_SITE_ADDRESS": "https://cars.example:8000/"},
        home=tmp_path,
    )
    assert served.site_for_people == "https://cars.example:8000"
    assert "secret" not in served.mlflow_for_people
    with pytest.raises(ValueError, match="CARSDEPO_SITE_ADDRESS holds a user or a password"):
        Settings.read({"CARSDEPO_SITE_ADDRESS": "https://u:p@cars.example"}, home=tmp_path)
