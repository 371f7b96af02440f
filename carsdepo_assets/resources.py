"""The lake, the policy and the services as Dagster resources: what assets ask for by name."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import dagster as dg
from pydantic import Field

from carsdepo_assets.certificates import trusted
from carsdepo_assets.lake.capture_place import CapturePlace
from carsdepo_assets.policy import Policy
from carsdepo_assets.policy_layers import Layer, load_policy
from carsdepo_assets.redaction import redact

if TYPE_CHECKING:
    import httpx

    from carsdepo_assets.lake.lake import Lake


class LakeResource(dg.ConfigurableResource):
    """The lake: where photographs, tables, models and reports are stored."""

    url: str = Field(description="a folder, or s3://bucket/prefix")
    home: str = Field(description="folder on this machine for caches and the work of trainings")
    site: str = Field(default="", description="URL of the site of reports, which production's service shows")
    uploads_queue: str | None = Field(
        default=None, description="URL of the SQS queue of S3's events of raw/uploads/; None: raw/uploads/ is listed"
    )
    labels_queue: str | None = Field(
        default=None, description="URL of the SQS queue of S3's events of raw/labels/; None: raw/labels/ is listed"
    )
    inventory: str | None = Field(
        default=None,
        description="s3:// URL of the folder of an S3 Inventory, which is read in place of listing everything",
    )

    def link(self, key: str) -> dg.UrlMetadataValue | dg.PathMetadataValue:
        """A link for people to what is stored at a key.

        Args:
            key: of an object in the lake.

        Returns:
            The site's page about it; where the site has none, its place in the lake.
        """
        from carsdepo_assets.reporting.addresses import page_url

        page = page_url(self.site, key) if self.site else None
        return dg.MetadataValue.path(f"{self.url}/{key}") if page is None else dg.MetadataValue.url(page)

    def address(self, key: str) -> str:
        """The link to a key as text, for messages."""
        return str(self.link(key).value)

    def open(self) -> Lake:
        """Opens the lake."""
        from carsdepo_assets.lake.lake import Lake

        return Lake.open(self.url)

    def work(self, *parts: str) -> Path:
        """A folder below `home`, created if missing, for work that may be lost, such as caches and checkpoints."""
        folder = Path(self.home, "work", *parts)
        folder.mkdir(parents=True, exist_ok=True)
        return folder


class AccountLake(LakeResource):
    """The lake of an installation in an AWS account: its first use says what the process lacks for AWS."""

    def open(self) -> Lake:
        """Opens the lake.

        Raises:
            AwsNotReady: this process has no credentials or knows no region.
        """
        from carsdepo_assets.lake.aws_access import require_access

        require_access(region=True)
        return super().open()


class PolicyResource(dg.ConfigurableResource):
    """The policy in force. It is read at every use, so that an edit counts at once; without files the defaults hold."""

    files: list[str] = Field(
        default_factory=list, description="TOML files that may be absent; later ones go before earlier ones"
    )
    file: str | None = Field(default=None, description="the file that CARSDEPO_POLICY names: goes before `files`")

    def read(self) -> Policy:
        """Reads the policy's files.

        Raises:
            PolicyError: a file has a wrong value (the message names file and key), or the named file is missing.
        """
        return load_policy(
            [
                *(Layer(Path(file)) for file in self.files),
                *([Layer(Path(self.file), required=True)] if self.file is not None else []),
            ]
        )


class StudyStorage(dg.ConfigurableResource):
    """Where Optuna keeps its studies, beside MLflow's store; the ledger of trials in the lake does not need it."""

    home: str = Field(description="CARSDEPO_HOME: optuna.db lies there")
    uri: str | None = Field(
        default=None, description="a database's, as EnvVar: it may hold a password; None: SQLite in home"
    )

    def address(self) -> str:
        """The storage's address, as SQLAlchemy writes it."""
        uri = self.uri.get_value() if isinstance(self.uri, dg.EnvVar) else self.uri
        if uri:
            return uri
        home = Path(self.home).resolve()
        home.mkdir(parents=True, exist_ok=True)
        return (
            f"sqlite:///{quote(str(home / 'optuna.db'))}"  # in an address a ? or % of a folder's name is another sign
        )


class NoService(RuntimeError):
    """A stage's service does not answer, or does not serve the model that it should; the message says what to do."""


class SilentService(NoService):
    """A service that takes the request and does not answer in time: it is busy, not gone."""


# Seconds. Who listens takes a connection at once, however busy; its answer may wait for the machine.
_CONNECT_S, _ANSWER_S = 5.0, 20.0


class ServicesResource(dg.ConfigurableResource):
    """The addresses of the inspection services, and the key that they ask for."""

    production: str = Field(description="URL of production's service, without a path")
    staging: str = Field(description="URL of staging's service, without a path")
    api_key: str | None = Field(default=None, description="sent as X-API-Key; None: the services ask for none")

    def url(self, stage: str) -> str:
        """The URL of a stage's service, without a slash at its end."""
        return {"production": self.production, "staging": self.staging}[stage].rstrip("/")

    def headers(self) -> dict[str, str]:
        """The headers that every request to a service needs."""
        return {"X-API-Key": self.api_key} if self.api_key else {}

    def client(self, stage: str, seconds: float) -> httpx.Client:
        """A client of a stage's service, with its address and headers; a request may take so many seconds."""
        import httpx

        return httpx.Client(base_url=self.url(stage), headers=self.headers(), timeout=seconds)

    def captured(self, stage: str) -> CapturePlace:
        """Where the answers of a stage's service are captured."""
        return CapturePlace(f"capture/{stage}")

    def health(self, stage: str) -> dict[str, Any]:
        """The answer of a stage's service at /healthz.

        Args:
            stage: staging or production.

        Returns:
            The JSON of inference.answers.Health.

        Raises:
            NoService: no service answers there, or something else does.
            SilentService: the service takes the request and does not answer in time.
        """
        import httpx

        try:
            limits = httpx.Timeout(_ANSWER_S, connect=_CONNECT_S)
            url = f"{self.url(stage)}/healthz"
            answer = httpx.get(url, headers=self.headers(), timeout=limits, verify=trusted())
            answer.raise_for_status()
            health = answer.json()
        except httpx.ReadTimeout as error:
            raise SilentService(
                f"The {stage} service at {self.url(stage)} takes requests and did not answer within {_ANSWER_S:g} s: "
                "the machine is busy, or the service hangs; see its log."
            ) from error
        except (httpx.HTTPError, ValueError) as error:
            raise NoService(
                f"No {stage} service answers at {self.url(stage)}/healthz ({redact(str(error))}). "
                f"Start it: `carsdepo serve --stage {stage}`."
            ) from error
        if not isinstance(health, dict) or health.get("stage") != stage:
            raise NoService(
                f"What answers at {self.url(stage)} is not the {stage} service: {str(health)[:200]}. "
                f"Set CARSDEPO_{stage.upper()}_URL, or start `carsdepo serve --stage {stage}`."
            )
        return health

    def wait_for(
        self,
        stage: str,
        digest: str,
        seconds: float,
        *,
        poll_s: float = 0.2,
        waiting: Callable[[dict[str, Any]], None] = lambda health: None,
    ) -> dict[str, Any]:
        """Asks /healthz again and again until the stage's service serves a model.

        Args:
            stage: staging or production.
            digest: of the model that is to be served.
            seconds: how long to ask.
            poll_s: seconds between two questions.
            waiting: called with each answer of a service that does not serve the model yet.

        Returns:
            The service's answer once it serves the model.

        Raises:
            NoService: at once when no service listens; after `seconds` with the service's last answer.
        """
        deadline = time.monotonic() + seconds
        while True:
            try:
                health = self.health(stage)
            except SilentService:
                if time.monotonic() >= deadline:
                    raise
                continue
            if health.get("status") == "serving" and health.get("digest") == digest:
                return health
            if time.monotonic() >= deadline:
                error = f", error: {str(health['error']).rstrip('.')}" if health.get("error") else ""
                raise NoService(
                    f"The {stage} service at {self.url(stage)} does not serve model {digest} after {seconds:g} s: it "
                    f"is {health.get('status')} with {health.get('digest') or 'no model'}{error}. See its log; "
                    "policy.release.wait_s is the time it gets."
                )
            waiting(health)
            time.sleep(poll_s)
