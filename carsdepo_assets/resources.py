"""The lake, the policy and the services as Dagster resources: what assets ask for by name."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg
from pydantic import Field

from carsdepo_assets.certificates import trusted
from carsdepo_assets.policy import Policy
from carsdepo_assets.policy_layers import Layer, load_policy
from carsdepo_assets.redaction import redact

if TYPE_CHECKING:
    from carsdepo_assets.lake.lake import Lake


class LakeResource(dg.ConfigurableResource):
    """url: a folder or s3://bucket/prefix. home: local folder for caches and training work."""

    url: str
    home: str
    site: str = Field(default="", description="URL of the site of reports, which production's service shows")

    def link(self, key: str) -> dg.UrlMetadataValue | dg.PathMetadataValue:
        """For people: the site's page on what lies at the key; where no page shows it, its place in the lake."""
        from carsdepo_assets.reporting.addresses import page_url

        page = page_url(self.site, key) if self.site else None
        return dg.MetadataValue.path(f"{self.url}/{key}") if page is None else dg.MetadataValue.url(page)

    def address(self, key: str) -> str:
        """The same as text, for messages."""
        return str(self.link(key).value)

    def open(self) -> Lake:
        from carsdepo_assets.lake.lake import Lake

        return Lake.open(self.url)

    def work(self, *parts: str) -> Path:
        """A folder below home for work that may be lost, such as caches and training checkpoints."""
        folder = Path(self.home, "work", *parts)
        folder.mkdir(parents=True, exist_ok=True)
        return folder


class PolicyResource(dg.ConfigurableResource):
    """The policy in force, read at use: an edit counts at once. Without files the built-in policy holds."""

    files: list[str] = Field(
        default_factory=list, description="TOML files that may be absent; later ones go before earlier ones"
    )
    file: str | None = Field(default=None, description="the file that CARSDEPO_POLICY names: goes before `files`")

    def read(self) -> Policy:
        """Raises PolicyError naming file and key, or the named file that is missing."""
        return load_policy(
            [
                *(Layer(Path(file)) for file in self.files),
                *([Layer(Path(self.file), required=True)] if self.file is not None else []),
            ]
        )


class NoService(RuntimeError):
    """A stage's service does not answer, or does not serve what it should; the message says what to start or do."""


class SilentService(NoService):
    """It takes the request and does not answer in time: busy, not gone."""


# Seconds. Who listens takes a connection at once, however busy; its answer may wait for the machine.
_CONNECT_S, _ANSWER_S = 5.0, 20.0


class ServicesResource(dg.ConfigurableResource):
    """Where the inspection service of each stage answers."""

    production: str = Field(description="URL of production's service, without a path")
    staging: str = Field(description="the same of staging's")
    api_key: str | None = Field(default=None, description="sent as X-API-Key; None: the services ask for none")

    def url(self, stage: str) -> str:
        return {"production": self.production, "staging": self.staging}[stage].rstrip("/")

    def headers(self) -> dict[str, str]:
        return {"X-API-Key": self.api_key} if self.api_key else {}

    def health(self, stage: str) -> dict[str, Any]:
        """What the service says on /healthz. Raises NoService when none answers, SilentService when it is slow."""
        import httpx

        try:
            limits = httpx.Timeout(_ANSWER_S, connect=_CONNECT_S)
            url = f"{self.url(stage)}/healthz"
            answer = httpx.get(url, headers=self.headers(), timeout=limits, verify=trusted())
            answer.raise_for_status()
            said = answer.json()
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
        if not isinstance(said, dict) or said.get("stage") != stage:
            raise NoService(
                f"What answers at {self.url(stage)} is not the {stage} service: {str(said)[:200]}. "
                f"Set CARSDEPO_{stage.upper()}_URL, or start `carsdepo serve --stage {stage}`."
            )
        return said

    def wait_for(
        self,
        stage: str,
        digest: str,
        seconds: float,
        *,
        poll_s: float = 0.2,
        waiting: Callable[[dict[str, Any]], None] = lambda said: None,
    ) -> dict[str, Any]:
        """Polls /healthz until the stage serves the digest; what it said then. waiting: called with each other answer.

        Raises NoService at once when no service listens, and after `seconds` with what the service said last.
        """
        deadline = time.monotonic() + seconds
        while True:
            try:
                said = self.health(stage)
            except SilentService:
                if time.monotonic() >= deadline:
                    raise
                continue
            if said.get("status") == "serving" and said.get("digest") == digest:
                return said
            if time.monotonic() >= deadline:
                raise NoService(
                    f"The {stage} service at {self.url(stage)} does not serve model {digest} after {seconds:g} s: it "
                    f"is {said.get('status')} with {said.get('digest') or 'no model'}"
                    f"{', error: ' + str(said['error']) if said.get('error') else ''}. See its log; policy.release."
                    "wait_s is the time it gets."
                )
            waiting(said)
            time.sleep(poll_s)
