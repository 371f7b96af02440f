"""Announcements of the deployment ledger's events: a model goes to staging, goes live, is approved, is rolled back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from carsdepo_assets.alerts.channels import Alert, Severity
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.registry.ledger import Event

KIND = "release"
# Older events are not announced: a lake that comes to a new installation must not announce its whole past again.
ANNOUNCED_FOR = timedelta(days=1)
_SEVERITY: dict[str, Severity] = {"rollback": "critical", "reject": "warning", "hold": "warning"}


def announcement(event: Event, address: Callable[[str], str]) -> Alert:
    """Words the alert for an event of the ledger.

    Args:
        event: of the ledger.
        address: turns a key of the lake into the address where people open it.
    """
    model = "a model" if event.digest is None else f"model {event.digest}"
    name = model if event.version is None else f"version {event.version}"
    title = {
        "deploy": f"Staging serves {name}",
        "promote": f"Production serves {name}",
        "rollback": f"Production is rolled back to {name}",
        "approve": f"{name.capitalize()} is approved",
        "reject": f"{name.capitalize()} is rejected",
        "hold": "The next promotion needs a person",
    }[event.action]
    who = f"the policy ({event.actor})" if event.actor.startswith("auto:") else event.actor
    lines = [f"{event.reason.rstrip('.')}.", f"Decided by {who} at {event.at:%Y-%m-%d %H:%M:%S} UTC."]
    if event.previous is not None and event.previous != event.digest:
        lines.append(f"Before: model {event.previous}.")
    if event.digest is not None:
        lines.append(f"The model and where it comes from: {address(f'models/{event.digest}/lineage.json')}")
    return Alert(KIND, f"ledger_event:{event.event_id}", _SEVERITY.get(event.action, "info"), title, "\n".join(lines))


def unannounced(lake: Lake, history: Sequence[Event], now: datetime) -> list[Event]:
    """Events of the last ANNOUNCED_FOR that are not in the table `alerts` yet, oldest first.

    They are found by what is stored, so that a process that is killed loses none.

    Args:
        lake: whose table `alerts` is read.
        history: the ledger's events, oldest first.
        now: the present, with a time zone.
    """
    recent = [e for e in history if now - e.at < ANNOUNCED_FOR]
    if not recent:
        return []
    announced_keys = set(lake.read("alerts", columns=["key"])["key"].to_pylist())
    return [e for e in recent if f"ledger_event:{e.event_id}" not in announced_keys]
