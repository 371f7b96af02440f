"""Alerts as a Dagster resource: what assets and sensors call to tell people."""

from __future__ import annotations

from typing import TYPE_CHECKING

import dagster as dg
from pydantic import Field

from carsdepo_assets.redaction import redact

if TYPE_CHECKING:
    from carsdepo_assets.alerts.channels import Severity
    from carsdepo_assets.lake.lake import Lake
    from carsdepo_assets.policy import Policy


class AlertsResource(dg.ConfigurableResource):
    """The log always, a webhook and apprise's services where they are set up."""

    webhook: str | None = Field(default=None, description="URL that gets every alert as JSON; as EnvVar: it is secret")
    urls: list[str] = Field(
        default_factory=list, description="apprise URLs (mail, chat, paging), several separated by spaces; as EnvVar"
    )
    dagster_url: str = Field(default="http://127.0.0.1:3000", description="for links to runs")

    def send(
        self, lake: Lake, policy: Policy, *, kind: str, key: str, severity: Severity, title: str, body: str
    ) -> bool:
        """True when this told someone, False for a repetition. Channels that fail don't raise: see alerting.send."""
        from carsdepo_assets.alerts.alerting import send
        from carsdepo_assets.alerts.channels import Alert, channels

        alert = Alert(kind, key, severity, redact(title), redact(body))  # a body may quote an error
        urls = [url for given in self.urls for url in given.split()]
        return send(lake, policy, channels(self.webhook, urls), alert) is not None

    def run_url(self, run_id: str) -> str:
        return f"{self.dagster_url.rstrip('/')}/runs/{run_id}"
