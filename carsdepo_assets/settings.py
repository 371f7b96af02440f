"""Where this installation keeps its state and which ports it uses: typed, in one place."""

from __future__ import annotations

import os
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from carsdepo_assets.policy import Policy, load_policy


class Settings(BaseModel):
    """home: folder of all local state. lake: folder or s3:// URL of bytes and tables."""

    model_config = ConfigDict(frozen=True)

    home: Path
    lake: str
    policy_file: Path
    environment: str = Field("local", pattern="^local$")
    pipes_bucket: str | None = Field(None, description="S3 bucket for the talk between jobs and workers; None: files")
    mlflow_server: str | None = Field(None, description="an MLflow server's URI; None: SQLite below home")
    dagster_port: int = 3000
    mlflow_port: int = 5000
    production_port: int = 8000
    staging_port: int = 8001
    production_url: str | None = Field(None, description="where production answers; None: here")
    staging_url: str | None = Field(None, description="the same for staging")
    api_key: str | None = Field(None, description="what clients send as X-API-Key; None: no key is asked for")
    alert_webhook: str | None = Field(None, description="URL that gets every alert as JSON")
    alert_urls: tuple[str, ...] = Field((), description="apprise URLs: mail, chat, paging")

    @classmethod
    def read(cls, env: Mapping[str, str] | None = None, home: Path | None = None) -> Settings:
        """From CARSDEPO_* variables (default: the process's), never at import. Raises ValueError for a bad port."""
        env = os.environ if env is None else env
        root = (home or Path(env.get("CARSDEPO_HOME", ".carsdepo"))).resolve()
        return cls(
            home=root,
            lake=env.get("CARSDEPO_LAKE") or str(root / "lake"),
            policy_file=_policy_file(env.get("CARSDEPO_POLICY"), root),
            environment=env.get("CARSDEPO_ENVIRONMENT", "local"),
            mlflow_server=env.get("CARSDEPO_MLFLOW") or None,
            pipes_bucket=env.get("CARSDEPO_PIPES_BUCKET") or None,
            dagster_port=_port(env, "CARSDEPO_DAGSTER_PORT", 3000),
            mlflow_port=_port(env, "CARSDEPO_MLFLOW_PORT", 5000),
            production_port=_port(env, "CARSDEPO_PRODUCTION_PORT", 8000),
            staging_port=_port(env, "CARSDEPO_STAGING_PORT", 8001),
            production_url=env.get("CARSDEPO_PRODUCTION_URL") or None,
            staging_url=env.get("CARSDEPO_STAGING_URL") or None,
            api_key=env.get("CARSDEPO_API_KEY") or None,
            alert_webhook=env.get("CARSDEPO_ALERT_WEBHOOK") or None,
            alert_urls=tuple(env.get("CARSDEPO_ALERT_URLS", "").split()),
        )

    @property
    def mlflow_uri(self) -> str:
        """Where MLflow's runs and versions are."""
        return self.mlflow_server or f"sqlite:///{self.home / 'mlflow.db'}"

    def service_url(self, stage: str) -> str:
        """Where the service of a stage answers."""
        given, port = {
            "production": (self.production_url, self.production_port),
            "staging": (self.staging_url, self.staging_port),
        }[stage]
        return (given or f"http://127.0.0.1:{port}").rstrip("/")

    def policy(self) -> Policy:
        return load_policy(self.policy_file)

    def variables(self) -> dict[str, str]:
        """The environment of a child process that is to see the same state."""
        return {
            "CARSDEPO_HOME": str(self.home),
            "CARSDEPO_LAKE": self.lake,
            "CARSDEPO_POLICY": str(self.policy_file),
            "CARSDEPO_ENVIRONMENT": self.environment,
            "CARSDEPO_MLFLOW": self.mlflow_server or "",
            "CARSDEPO_PIPES_BUCKET": self.pipes_bucket or "",
            "CARSDEPO_DAGSTER_PORT": str(self.dagster_port),
            "CARSDEPO_MLFLOW_PORT": str(self.mlflow_port),
            "CARSDEPO_PRODUCTION_PORT": str(self.production_port),
            "CARSDEPO_STAGING_PORT": str(self.staging_port),
            "CARSDEPO_PRODUCTION_URL": self.production_url or "",
            "CARSDEPO_STAGING_URL": self.staging_url or "",
            "CARSDEPO_API_KEY": self.api_key or "",
            "CARSDEPO_ALERT_WEBHOOK": self.alert_webhook or "",
            "CARSDEPO_ALERT_URLS": " ".join(self.alert_urls),
            "DAGSTER_HOME": str(self.dagster_home()),
            "DAGSTER_DISABLE_TELEMETRY": "yes",
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


def _policy_file(given: str | None, home: Path) -> Path:
    """The one that is named; else carsdepo.toml in the working folder; else the installation's own, below home."""
    if given:
        return Path(given).resolve()
    here = Path("carsdepo.toml").resolve()
    return here if here.exists() else home / "carsdepo.toml"
