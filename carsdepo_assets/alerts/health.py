"""Is a stage serving what the ledger says, and since when is it not: state in, state and alert out."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict

from carsdepo_assets.alerts.channels import Alert

GRACE_S = 60.0  # a service that starts or swaps models is silent or behind for this long without an alert


class Trouble(BaseModel):
    """kind: service_down or ledger. since: when this stage was first seen in trouble."""

    model_config = ConfigDict(frozen=True)

    since: datetime
    kind: str
    what: str


def examine(wanted: str, health: Mapping[str, Any] | None) -> tuple[str, str] | None:
    """(kind, what is wrong) of a stage that should serve the digest `wanted`; None when it does.

    health: what /healthz said, None where nothing answered.
    """
    if health is None:
        return "service_down", "does not answer"
    status, digest = health.get("status"), health.get("digest")
    if status != "serving":
        error = health.get("error")
        return "service_down", f"answers, but is {status}" + (f": {error}" if error else "")
    if digest != wanted:
        return "ledger", f"serves {digest}, the ledger says {wanted}"
    return None


def follow(
    stage: str, url: str, wanted: str, health: Mapping[str, Any] | None, before: Trouble | None, now: datetime
) -> tuple[Trouble | None, Alert | None]:
    """The stage's trouble as of now, and what people should hear: nothing in the first GRACE_S, then that it is there
    (repeated as the policy says), and its end once it was told of."""
    found = examine(wanted, health)
    if found is None:
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
    kind, what = found
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
