"""The settings of one installation, read from CARSDEPO_* variables, and what follows from them.

Which settings there are is in settings_fields.py.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from pydantic import ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

from carsdepo_assets import redaction
from carsdepo_assets.policy import Policy
from carsdepo_assets.policy_layers import Layer, layers, load_policy
from carsdepo_assets.settings_fields import SECRETS, SettingsFields
from carsdepo_assets.settings_variables import Variables, explained, plain, text_of, variable_of

_TRACKING = redaction.MLFLOW + redaction.AWS  # MLflow's artifacts may lie on S3


class Settings(SettingsFields):
    """The settings of one installation. `read` takes them from the environment; the constructor reads no variable.

    Secrets are of a type that shows nothing; `variables` has none of them, `child_environment` hands them on.
    """

    @classmethod
    def read(cls, env: Mapping[str, str] | None = None, home: Path | None = None) -> Self:
        """Reads the settings; an empty variable counts as not set.

        Args:
            env: The variables; None: those of this process, as they are now.
            home: The folder of all local state; None: the variable CARSDEPO_HOME, or .carsdepo in the working folder.

        Raises:
            ValueError: For a bad port, an API key that no HTTP header can hold, credentials in a URL that is shown to
                people, or what an AWS account lacks. The message names every such variable and shows no secret.
        """
        values = Variables(cls, os.environ if env is None else env)()
        if home is not None:
            values = {k: v for k, v in values.items() if k not in ("home", "CARSDEPO_HOME")} | {"home": home}
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            # A default that is made of other settings is not made where one of them is wrong: no trouble of its own.
            own = (one for one in error.errors() if one["type"] != "default_factory_not_called")
            raise ValueError("\n".join(explained(cls, one) for one in own)) from None

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Only what is passed: `read` names the environment that counts."""
        return (init_settings,)

    @property
    def mlflow_uri(self) -> str:
        """Where MLflow's runs and versions are. For MLflow alone: it may hold a password."""
        return plain(self.mlflow_server) or f"sqlite:///{self.home / 'mlflow.db'}"

    @property
    def mlflow_is_elsewhere(self) -> bool:
        """Whether a server of its own keeps MLflow's runs, so that `carsdepo dev` starts none."""
        return self.mlflow_uri.startswith(("http://", "https://"))

    def service_url(self, stage: str) -> str:
        """The URL at which the service of a stage ("production" or "staging") answers."""
        given, port = {
            "production": (self.production_url, self.production_port),
            "staging": (self.staging_url, self.staging_port),
        }[stage]
        return (given or f"http://127.0.0.1:{port}").rstrip("/")

    @property
    def site_for_people(self) -> str:
        """The address of production's pages in links."""
        return (self.site_address or self.service_url("production")).rstrip("/")

    @property
    def dagster_for_people(self) -> str:
        """The address of Dagster's UI in links."""
        return (self.dagster_address or f"http://127.0.0.1:{self.dagster_port}").rstrip("/")

    @property
    def mlflow_for_people(self) -> str:
        """The address of MLflow's UI in links; it holds no password."""
        server = redaction.without_credentials(plain(self.mlflow_server) or "")
        own = server if server.startswith("http") else f"http://127.0.0.1:{self.mlflow_port}"
        return (self.mlflow_address or own).rstrip("/")

    @property
    def host_names(self) -> frozenset[str]:
        """The names by which the services are called, without ports."""
        own = (urlsplit(self.service_url(stage)).hostname for stage in ("production", "staging"))
        return frozenset(self.allowed_hosts) | {name for name in own if name}

    @property
    def policy_files(self) -> tuple[Layer, ...]:
        """The files of the policy, each of which overrides those before it."""
        return layers(self.home, self.policy_folder, self.policy_named)

    def policy(self) -> Policy:
        """Reads the policy in force.

        Raises:
            PolicyError: Naming the file and the key, or the named file that is missing.
        """
        return load_policy(self.policy_files)

    def child_environment(self, *needed: str) -> dict[str, str]:
        """The variables of a child process that works on the same state.

        Args:
            needed: Names of the variables with secrets that it needs; it gets no others.
        """
        inherited = redaction.environment(os.environ, needed)
        return inherited | self.variables() | {k: v for k, v in self.secrets().items() if k in needed}

    def service_secrets(self) -> tuple[str, ...]:
        """The secrets that an inspection service needs: its key, and what lake and registry ask for."""
        return redaction.API_KEY + _TRACKING

    def worker_secrets(self) -> tuple[str, ...]:
        """The secrets that a training needs: those of the MLflow server and of the bucket, where there are any."""
        on_s3 = self.lake.startswith("s3://") or self.pipes_bucket is not None
        return _TRACKING if self.mlflow_server is not None else redaction.AWS if on_s3 else ()

    def secrets(self) -> dict[str, str]:
        """The variables that hold secrets: for environments of processes alone, never for configuration or text."""
        return {variable_of(type(self), name): text_of(getattr(self, name)) for name in SECRETS}

    def variables(self) -> dict[str, str]:
        """What a child process needs in order to see the same state. No secret is among it: Dagster shows it."""
        fields = [name for name in type(self).model_fields if name not in SECRETS]
        return {variable_of(type(self), name): text_of(getattr(self, name)) for name in fields} | {
            "DAGSTER_HOME": str(self.dagster_home()),
            "CARSDEPO_WORK": str(self.home / "work"),
            "DAGSTER_DISABLE_TELEMETRY": "yes",
            # Dagster's 60 s end a run that a busy machine is slow to start, as "failed from outside".
            "DAGSTER_GRPC_TIMEOUT_SECONDS": "300",
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "MLFLOW_LOGGING_LEVEL": "WARNING",
            "WHYLOGS_NO_ANALYTICS": "True",
            # Spinning OpenMP threads that share cores made a training 15 times slower on a busy machine.
            "GOMP_SPINCOUNT": "5000",
        }

    def dagster_home(self) -> Path:
        """The folder with Dagster's dagster.yaml.

        Returns:
            CARSDEPO_DAGSTER_HOME where that is set; else a folder below `home`, where the file is written when it is
            absent and keeps Dagster's storage below `home` too.

        Raises:
            FileNotFoundError: CARSDEPO_DAGSTER_HOME names a folder without the file.
        """
        if self.dagster_folder is not None:
            if not (self.dagster_folder / "dagster.yaml").is_file():
                raise FileNotFoundError(
                    f"CARSDEPO_DAGSTER_HOME={self.dagster_folder} has no dagster.yaml: put one there, or unset it."
                )
            return self.dagster_folder
        folder = self.home / "dagster_home"
        text = files("carsdepo_assets").joinpath("dagster_template.yaml").read_text()
        wanted = text.replace("@HOME@", str(self.home))
        target = folder / "dagster.yaml"
        if not target.exists() or target.read_text() != wanted:
            folder.mkdir(parents=True, exist_ok=True)
            part = folder / f".dagster.yaml.{os.getpid()}"
            part.write_text(wanted)
            part.replace(target)
        return folder
