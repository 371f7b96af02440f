"""Where this installation keeps its state and which ports it uses: typed, in one place."""

from __future__ import annotations

import os
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, SecretStr

from carsdepo_assets import redaction
from carsdepo_assets.policy import Policy
from carsdepo_assets.policy_layers import FILE_NAME, Layer, layers, load_policy

POLICY_FOLDER_VARIABLE = "CARSDEPO_POLICY_FOLDER"  # a child's working folder may be another than its parent's
_TRACKING = redaction.MLFLOW + redaction.AWS  # MLflow's artifacts may lie on S3


class Settings(BaseModel):
    """home: folder of all local state. lake: folder or s3:// URL of bytes and tables.

    What is secret is of a type that shows nothing; `variables` has none of it, `child_environment` hands it on.
    """

    model_config = ConfigDict(frozen=True)

    home: Path
    lake: str
    policy_folder: Path = Field(description="folder whose carsdepo.toml goes before the home's: the working folder")
    policy_named: Path | None = Field(None, description="file that goes before both and must be there; None: none")
    environment: str = Field("local", pattern="^local$")
    pipes_bucket: str | None = Field(None, description="S3 bucket for the talk between jobs and workers; None: files")
    mlflow_server: SecretStr | None = Field(None, description="an MLflow server's URI; None: SQLite below home")
    dagster_port: int = 3000
    mlflow_port: int = 5000
    production_port: int = 8000
    staging_port: int = 8001
    production_url: str | None = Field(None, description="where production answers; None: here")
    staging_url: str | None = Field(None, description="the same for staging")
    api_key: SecretStr | None = Field(None, description="what clients send as X-API-Key; None: no key is asked for")
    alert_webhook: SecretStr | None = Field(None, description="URL that gets every alert as JSON")
    alert_urls: tuple[SecretStr, ...] = Field((), description="apprise URLs: mail, chat, paging")

    @classmethod
    def read(cls, env: Mapping[str, str] | None = None, home: Path | None = None) -> Settings:
        """From CARSDEPO_* variables (default: the process's), never at import.

        Raises ValueError for a bad port, for an API key that no HTTP header can hold, and for credentials in a URL
        that is shown to people.
        """
        env = os.environ if env is None else env
        for name, instead in (
            ("CARSDEPO_LAKE", "the AWS_* variables hold them"),
            ("CARSDEPO_PRODUCTION_URL", "the services ask for CARSDEPO_API_KEY"),
            ("CARSDEPO_STAGING_URL", "the services ask for CARSDEPO_API_KEY"),
        ):
            if redaction.has_credentials(env.get(name, "")):
                raise ValueError(f"{name} holds a user or a password, and pages show it: {instead}.")
        root = (home or Path(env.get("CARSDEPO_HOME", ".carsdepo"))).resolve()
        return cls(
            home=root,
            lake=env.get("CARSDEPO_LAKE") or str(root / "lake"),
            policy_folder=Path(env.get(POLICY_FOLDER_VARIABLE) or ".").resolve(),
            policy_named=Path(env["CARSDEPO_POLICY"]).resolve() if env.get("CARSDEPO_POLICY") else None,
            environment=env.get("CARSDEPO_ENVIRONMENT", "local"),
            mlflow_server=_secret(env.get("CARSDEPO_MLFLOW")),
            pipes_bucket=env.get("CARSDEPO_PIPES_BUCKET") or None,
            dagster_port=_port(env, "CARSDEPO_DAGSTER_PORT", 3000),
            mlflow_port=_port(env, "CARSDEPO_MLFLOW_PORT", 5000),
            production_port=_port(env, "CARSDEPO_PRODUCTION_PORT", 8000),
            staging_port=_port(env, "CARSDEPO_STAGING_PORT", 8001),
            production_url=env.get("CARSDEPO_PRODUCTION_URL") or None,
            staging_url=env.get("CARSDEPO_STAGING_URL") or None,
            api_key=_api_key(env.get("CARSDEPO_API_KEY")),
            alert_webhook=_secret(env.get("CARSDEPO_ALERT_WEBHOOK")),
            alert_urls=tuple(map(SecretStr, env.get("CARSDEPO_ALERT_URLS", "").split())),
        )

    @property
    def mlflow_uri(self) -> str:
        """Where MLflow's runs and versions are, for MLflow alone: it may hold a password."""
        return plain(self.mlflow_server) or f"sqlite:///{self.home / 'mlflow.db'}"

    def service_url(self, stage: str) -> str:
        """Where the service of a stage answers."""
        given, port = {
            "production": (self.production_url, self.production_port),
            "staging": (self.staging_url, self.staging_port),
        }[stage]
        return (given or f"http://127.0.0.1:{port}").rstrip("/")

    @property
    def policy_files(self) -> tuple[Layer, ...]:
        """The files of the policy; later ones go before earlier ones."""
        return layers(self.home, self.policy_folder, self.policy_named)

    @property
    def policy_file(self) -> Path:
        """The file that goes before all others: the named one, the working folder's where there is one, the home's."""
        here = self.policy_folder / FILE_NAME
        return self.policy_named or (here if here.exists() else self.home / FILE_NAME)

    def policy(self) -> Policy:
        """Raises PolicyError naming the file and the key, or the named file that is missing."""
        return load_policy(self.policy_files)

    def child_environment(self, *needed: str) -> dict[str, str]:
        """All variables of a child process over the same state; of the secrets only those `needed` (names)."""
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
        return {
            "CARSDEPO_API_KEY": plain(self.api_key) or "",
            "CARSDEPO_ALERT_WEBHOOK": plain(self.alert_webhook) or "",
            "CARSDEPO_ALERT_URLS": " ".join(url.get_secret_value() for url in self.alert_urls),
            "CARSDEPO_MLFLOW": plain(self.mlflow_server) or "",
        }

    def variables(self) -> dict[str, str]:
        """What a child process needs in order to see the same state. No secret is among it: Dagster shows it."""
        return {
            "CARSDEPO_HOME": str(self.home),
            "CARSDEPO_LAKE": self.lake,
            "CARSDEPO_POLICY": str(self.policy_named or ""),
            POLICY_FOLDER_VARIABLE: str(self.policy_folder),
            "CARSDEPO_ENVIRONMENT": self.environment,
            "CARSDEPO_PIPES_BUCKET": self.pipes_bucket or "",
            "CARSDEPO_DAGSTER_PORT": str(self.dagster_port),
            "CARSDEPO_MLFLOW_PORT": str(self.mlflow_port),
            "CARSDEPO_PRODUCTION_PORT": str(self.production_port),
            "CARSDEPO_STAGING_PORT": str(self.staging_port),
            "CARSDEPO_PRODUCTION_URL": self.production_url or "",
            "CARSDEPO_STAGING_URL": self.staging_url or "",
            "DAGSTER_HOME": str(self.dagster_home()),
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
        """The folder whose dagster.yaml keeps Dagster's storage below `home`; made where it is absent."""
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


def _port(env: Mapping[str, str], name: str, default: int) -> int:
    """Raises ValueError naming the variable."""
    given = env.get(name) or str(default)
    if not (given.isascii() and given.isdecimal() and 0 < int(given) < 2**16):
        raise ValueError(f"{name}={given!r} is no port: set a number from 1 to 65535.")
    return int(given)


def plain(secret: SecretStr | None) -> str | None:
    """The secret itself, for the one that uses it."""
    return None if secret is None else secret.get_secret_value()


def _secret(given: str | None) -> SecretStr | None:
    return SecretStr(given) if given else None


def _api_key(given: str | None) -> SecretStr | None:
    """Raises ValueError without showing the key."""
    if given and (given != given.strip() or any(ord(c) < 32 or ord(c) == 127 for c in given)):
        raise ValueError(
            "CARSDEPO_API_KEY begins or ends with a space, or has a line break or another control character: no HTTP "
            "header can hold it. Set it without."
        )
    return _secret(given)
