"""Every setting of an installation: its variable, its default, its meaning, and what a value must look like.

A further setting is a further field here; settings.py says what follows from all of them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, SecretStr, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from carsdepo_assets import redaction, settings_aws
from carsdepo_assets.settings_variables import plain, variable_of

# Fields that no text and no configuration shows.
SECRETS = ("api_key", "alert_webhook", "alert_urls", "mlflow_server", "studies")
# URLs that pages show, and what to use in place of credentials in them.
_SHOWN = {
    "lake": "the AWS_* variables hold them",
    **dict.fromkeys(("site_address", "dagster_address", "mlflow_address"), "browsers ask people for them"),
    "production_url": "the services ask for CARSDEPO_API_KEY",
    "staging_url": "the services ask for CARSDEPO_API_KEY",
}


class SettingsFields(BaseSettings):
    """The fields of Settings, each checked by itself; what one of them must be may depend on those above it."""

    model_config = SettingsConfigDict(frozen=True, populate_by_name=True, hide_input_in_errors=True)

    # First: what the others must be depends on it.
    environment: Literal["local", "aws"] = Field(
        "local",
        validation_alias="CARSDEPO_ENVIRONMENT",
        description="what stands behind the graph: this machine (local), or an AWS account (aws)",
    )
    home: Path = Field(
        Path(".carsdepo"), validate_default=True, validation_alias="CARSDEPO_HOME", description="folder of local state"
    )
    lake: str = Field(
        default_factory=lambda values: str(values["home"] / "lake") if "home" in values else "",
        validation_alias="CARSDEPO_LAKE",
        description="folder or s3:// URL of bytes and tables",
    )
    uploads_queue: str | None = Field(
        None,
        validation_alias="CARSDEPO_UPLOADS_QUEUE",
        description="URL of the SQS queue that gets S3's events of raw/uploads/; None: it is listed",
    )
    labels_queue: str | None = Field(
        None,
        validation_alias="CARSDEPO_LABELS_QUEUE",
        description="URL of the SQS queue that gets S3's events of raw/labels/; None: it is listed",
    )
    models_queue: str | None = Field(
        None,
        validation_alias="CARSDEPO_MODELS_QUEUE",
        description="URL of the SQS queue that gets SageMaker's events of model packages and endpoints; None: all "
        "packages are looked at each time",
    )
    inventory: str | None = Field(
        None,
        validation_alias="CARSDEPO_INVENTORY",
        description="s3:// folder of an S3 Inventory in Parquet of the lake's bucket; None: raw/ is listed",
    )
    policy_folder: Path = Field(
        Path("."),
        validate_default=True,
        validation_alias="CARSDEPO_POLICY_FOLDER",  # a child's working folder may be another than its parent's
        description="folder whose carsdepo.toml overrides the home's: the working folder",
    )
    policy_named: Path | None = Field(
        None,
        validation_alias="CARSDEPO_POLICY",
        description="policy file that overrides both others and must exist; None: none",
    )
    dagster_folder: Path | None = Field(
        None,
        validation_alias="CARSDEPO_DAGSTER_HOME",
        description="folder with a dagster.yaml of one's own, as a team's server has; None: one is written below home",
    )
    pipes_bucket: str | None = Field(
        None,
        validation_alias="CARSDEPO_PIPES_BUCKET",
        description="S3 bucket through which jobs and workers exchange messages; None: files",
    )
    compute_file: Path | None = Field(
        None,
        validation_alias="CARSDEPO_COMPUTE",
        description="TOML file that says where jobs run, on this machine, ECS or SageMaker; None: on this machine",
    )
    endpoints_file: Path | None = Field(
        None,
        validation_alias="CARSDEPO_ENDPOINTS",
        description="TOML file that has models served by SageMaker endpoints; None: by services over HTTP",
    )
    mlflow_server: SecretStr | None = Field(
        None, validation_alias="CARSDEPO_MLFLOW", description="an MLflow server's URI; None: SQLite below home"
    )
    studies: SecretStr | None = Field(
        None,
        validation_alias="CARSDEPO_STUDIES",
        description="URL of Optuna's database, such as postgresql://user:password@host/optuna; it is not MLflow's own, "
        "since both keep the version of their tables under one name; None: SQLite below home, made again where it is "
        "lost",
    )
    dagster_port: int = Field(3000, validation_alias="CARSDEPO_DAGSTER_PORT", description="of `carsdepo dev`")
    mlflow_port: int = Field(5000, validation_alias="CARSDEPO_MLFLOW_PORT", description="of `carsdepo dev`")
    production_port: int = Field(8000, validation_alias="CARSDEPO_PRODUCTION_PORT", description="of `carsdepo serve`")
    staging_port: int = Field(8001, validation_alias="CARSDEPO_STAGING_PORT", description="of `carsdepo serve`")
    production_url: str | None = Field(
        None, validation_alias="CARSDEPO_PRODUCTION_URL", description="where production answers; None: on this machine"
    )
    staging_url: str | None = Field(
        None, validation_alias="CARSDEPO_STAGING_URL", description="where staging answers; None: on this machine"
    )
    site_address: str | None = Field(
        None,
        validation_alias="CARSDEPO_SITE_ADDRESS",
        description="production's pages as people reach them, for links; None: where production answers",
    )
    dagster_address: str | None = Field(
        None,
        validation_alias="CARSDEPO_DAGSTER_ADDRESS",
        description="Dagster's UI as people reach it, for links; None: on this machine",
    )
    mlflow_address: str | None = Field(
        None,
        validation_alias="CARSDEPO_MLFLOW_ADDRESS",
        description="MLflow's UI as people reach it, for links; None: the server, or on this machine",
    )
    api_key: SecretStr | None = Field(
        None, validation_alias="CARSDEPO_API_KEY", description="what clients send as X-API-Key; None: no key is needed"
    )
    signing_key: Path = Field(
        default_factory=lambda values: _below_home(values, "keys/model-signing.key"),
        validation_alias="CARSDEPO_SIGNING_KEY",
        description="private key (PEM) by which models are signed; it is made where it is missing",
    )
    verification_key: Path = Field(
        default_factory=lambda values: _below_home(values, "keys/model-signing.pub"),
        validation_alias="CARSDEPO_VERIFICATION_KEY",
        description="public key (PEM) by which the services verify models; it is made with the private one",
    )
    allowed_hosts: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        validation_alias="CARSDEPO_ALLOWED_HOSTS",
        description="names by which services without an API key are called, separated by spaces, besides localhost, "
        "addresses and the names in the services' URLs; * allows all",
    )
    alert_webhook: SecretStr | None = Field(
        None, validation_alias="CARSDEPO_ALERT_WEBHOOK", description="URL that gets every alert as JSON"
    )
    alert_urls: Annotated[tuple[SecretStr, ...], NoDecode] = Field(
        (), validation_alias="CARSDEPO_ALERT_URLS", description="apprise URLs, separated by spaces: mail, chat, paging"
    )
    alert_topic: str | None = Field(
        None, validation_alias="CARSDEPO_ALERT_TOPIC", description="ARN of the SNS topic that gets every alert"
    )
    metrics_namespace: str | None = Field(
        default_factory=lambda values: settings_aws.NAMESPACE if values.get("environment") == "aws" else None,
        validation_alias="CARSDEPO_METRICS_NAMESPACE",
        description="CloudWatch's namespace of the metrics, which are then lines on stdout; None: Carsdepo where the "
        "environment is aws, and no metrics elsewhere",
    )

    @field_validator(
        "home",
        "policy_folder",
        "policy_named",
        "compute_file",
        "endpoints_file",
        "dagster_folder",
        "signing_key",
        "verification_key",
    )
    @classmethod
    def _absolute(cls, path: Path | None) -> Path | None:
        return None if path is None else path.resolve()

    @field_validator("home")
    @classmethod
    def _fit_for_sqlite(cls, home: Path, info: ValidationInfo) -> Path:
        if re.search(r"\?|%[0-9A-Fa-f]{2}", str(home)):
            raise ValueError(
                f"{variable_of(cls, info.field_name)}={str(home)!r} cannot hold the databases of Dagster and MLflow: "
                "in their addresses a ? and a % before two digits mean something else. Choose a folder without them."
            )
        return home

    @field_validator("dagster_port", "mlflow_port", "production_port", "staging_port", mode="before")
    @classmethod
    def _port(cls, port: int | str, info: ValidationInfo) -> int:
        text = str(port)
        if not (text.isascii() and text.isdecimal() and 0 < int(text) < 2**16):
            raise ValueError(f"{variable_of(cls, info.field_name)}={text!r} is no port: set a number from 1 to 65535.")
        return int(text)

    @field_validator("lake", "production_url", "staging_url", "site_address", "dagster_address", "mlflow_address")
    @classmethod
    def _without_credentials(cls, url: str | None, info: ValidationInfo) -> str | None:
        if redaction.has_credentials(url or ""):
            raise ValueError(
                f"{variable_of(cls, info.field_name)} holds a user or a password, and pages show it: "
                f"{_SHOWN[str(info.field_name)]}."
            )
        return url

    @field_validator("uploads_queue", "labels_queue", "models_queue", "inventory")
    @classmethod
    def _as_s3_tells(cls, url: str | None, info: ValidationInfo) -> str | None:
        check = settings_aws.inventory_trouble if info.field_name == "inventory" else settings_aws.queue_trouble
        if url is not None and (trouble := check(url, str(info.data.get("lake", "")))) is not None:
            raise ValueError(f"{variable_of(cls, info.field_name)}{trouble}")
        return url

    @field_validator("api_key")
    @classmethod
    def _fit_for_a_header(cls, key: SecretStr | None) -> SecretStr | None:
        text = plain(key) or ""
        if text != text.strip() or any(ord(c) < 32 or ord(c) == 127 for c in text):
            raise ValueError(
                "CARSDEPO_API_KEY begins or ends with a space, or has a line break or another control character: no "
                "HTTP header can hold it. Set it without."
            )
        return key

    @field_validator(*settings_aws.NEEDED)
    @classmethod
    def _as_an_account_needs_it(cls, value: Any, info: ValidationInfo) -> Any:
        if info.data.get("environment") == "aws":
            given = plain(value) if isinstance(value, SecretStr) else value
            trouble = settings_aws.lacks(str(info.field_name), variable_of(cls, info.field_name), given)
            if trouble is not None:
                raise ValueError(trouble)
        return value

    @field_validator("alert_topic", "metrics_namespace")
    @classmethod
    def _as_aws_names_it(cls, name: str | None, info: ValidationInfo) -> str | None:
        check = settings_aws.topic_trouble if info.field_name == "alert_topic" else settings_aws.namespace_trouble
        if name is not None and (trouble := check(name)) is not None:
            raise ValueError(f"{variable_of(cls, info.field_name)}={trouble}.")
        return name

    @field_validator("alert_urls", "allowed_hosts", mode="before")
    @classmethod
    def _separate(cls, words: Any) -> Any:
        return tuple(words.split()) if isinstance(words, str) else words


def _below_home(values: Mapping[str, Any], name: str) -> Path:
    return Path(values.get("home", ""), name)  # without a home it is home's error that is shown
