"""Alerts and figures for alarms as Dagster resources, by which assets and sensors send them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

import dagster as dg
from pydantic import Field

from carsdepo_assets.redaction import legible, redact

if TYPE_CHECKING:
    from carsdepo_assets.alerts.channels import Severity
    from carsdepo_assets.cloudwatch.emf import Figure
    from carsdepo_assets.lake.lake import Lake
    from carsdepo_assets.policy import Policy


class AlertsResource(dg.ConfigurableResource):
    """Sends alerts to the log, and to a webhook, apprise's services and an SNS topic where they are set up."""

    webhook: str | None = Field(default=None, description="URL that gets every alert as JSON; as EnvVar: it is secret")
    urls: list[str] = Field(
        default_factory=list, description="apprise URLs (mail, chat, paging), several separated by spaces; as EnvVar"
    )
    topic: str | None = Field(default=None, description="ARN of the SNS topic that gets every alert")
    dagster_url: str = Field(default="http://127.0.0.1:3000", description="for links to runs")

    def send(
        self, lake: Lake, policy: Policy, *, kind: str, key: str, severity: Severity, title: str, body: str
    ) -> bool:
        """Sends an alert, with secrets removed from its title and body.

        Channels that fail do not raise; see alerting.send.

        Args:
            lake: whose table `alerts` keeps the record.
            policy: the section `alerts` is used.
            kind: one of the kinds of the table `alerts`.
            key: alerts with the same key within policy.alerts.repeat_after_s are one alert.
            severity: info, warning or critical.
            title: one line.
            body: more lines.

        Returns:
            Whether the alert was sent now; False for a repetition.
        """
        from carsdepo_assets.alerts.alerting import send
        from carsdepo_assets.alerts.channels import Alert, channels
        from carsdepo_assets.alerts.sns import Sns

        alert = Alert(kind, key, severity, legible(redact(title)), legible(redact(body)))  # a body may quote an error
        urls = [url for given in self.urls for url in given.split()]
        topics = [Sns(self.topic)] if self.topic else []
        return send(lake, policy, [*channels(self.webhook, urls), *topics], alert) is not None

    def run_url(self, run_id: str) -> str:
        """The page of a run in Dagster's UI."""
        return f"{self.dagster_url.rstrip('/')}/runs/{run_id}"


class FiguresResource(dg.ConfigurableResource):
    """Publishes figures to CloudWatch, as lines on stdout of which CloudWatch Logs makes metrics."""

    namespace: str | None = Field(default=None, description="CloudWatch's, of the metrics; None: nothing is published")

    def publish(self, figures: Sequence[Figure], at: datetime | None = None) -> None:
        """Writes figures as lines on this process's stdout.

        Args:
            figures: to publish; see cloudwatch.catalogue for what there is.
            at: when they were measured; None: now.
        """
        from carsdepo_assets.cloudwatch import emf

        if self.namespace is not None:
            emf.publish(self.namespace, figures, at)
