"""Decides whether a stage serves the model that the ledger names, and which alert that calls for. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict

from carsdepo_assets.alerts.channels import Alert

GRACE_S = 60.0  # a service that starts or swaps models is silent or behind for this long without an alert


class Trouble(BaseModel):
    """A stage that does not serve what it should."""

    model_config = ConfigDict(frozen=True)

    since: datetime
    """When this stage was first seen in trouble."""
    kind: str
    """The kind of its alerts: service_down or ledger."""
    what: str
    """What is wrong, as the end of a sentence about the stage."""


def examine(wanted: str, health: Mapping[str, Any] | None) -> tuple[str, str] | None:
    """Compares a stage's health with the model that it should serve.

    Args:
        wanted: the digest that the ledger names.
        health: the service's answer at /healthz; None where nothing answered.

    Returns:
        The kind of alert (service_down or ledger) and what is wrong; None where the stage serves the model.
    """
    if health is None:
        return "service_down", "does not answer"
    status, digest = health.get("status"), health.get("digest")
    if status != "serving":
        error = health.get("error")
        return "service_down", f"answers, but is {status}" + (f": {error}" if error else "")
    if health.get("ready") is False:
        return "service_down", f"answers, but is not ready: {'; '.join(health.get('not_ready_because', []))}"
    if digest != wanted:
        why = f": {health['error']}" if health.get("error") else ""
        return "ledger", f"serves {digest}, the ledger says {wanted}{why}"
    return None


def follow(
    stage: str, url: str, wanted: str, health: Mapping[str, Any] | None, before: Trouble | None, now: datetime
) -> tuple[Trouble | None, Alert | None]:
    """Follows a stage from one look at its health to the next.

    There is no alert in the first GRACE_S of a trouble, then one for the trouble (repeated as the policy says), and one
    when a trouble ends that an alert was sent for.

    Args:
        stage: staging or production.
        url: of the stage's service, for the alert.
        wanted: the digest that the ledger names.
        health: the service's answer at /healthz; None where nothing answered.
        before: the stage's trouble at the last look; None where it had none.
        now: the present, with a time zone.

    Returns:
        The stage's trouble now, and the alert to send; None for either where there is none.
    """
    fault = examine(wanted, health)
    if fault is None:
        if before is None or (now - before.since).total_seconds() <= GRACE_S:
            return None, None
        minutes = (now - before.since).total_seconds() / 60
        return None, Alert(
            before.kind,
            f"recovered:{stage}:{before.since.isoformat()}",
            "info",
            f"{stage.capitalize()} is well again",
            f"{url} serves model {wanted} after {minutes:.0f} minutes in which it {_past(before)}.",
        )
    kind, what = fault
    trouble = Trouble(since=before.since if before else now, kind=kind, what=what)
    if (now - trouble.since).total_seconds() <= GRACE_S:
        return trouble, None
    to_do = (
        f"Start it: carsdepo serve --stage {stage}"
        if health is None
        else "See the service's log; the service follows the ledger by itself once it can load the model."
    )
    return trouble, Alert(
        kind,
        f"{kind}:{stage}:{trouble.since.isoformat()}",
        "critical" if stage == "production" else "warning",
        f"{stage.capitalize()} {what}",
        f"{url} {what}. It should serve model {wanted}; so since {trouble.since:%d %b %Y, %H:%M:%S} UTC.\n{to_do}",
    )


def _past(trouble: Trouble) -> str:
    return "did not serve" if trouble.kind == "service_down" else "served another model than the ledger's"
