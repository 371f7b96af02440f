"""The deployment ledger: what each stage is to serve, who decided it and why. Append-only; MLflow's aliases follow it.

Kinds of event: `deploy` (staging) and `promote` (production) name a digest to serve, `rollback` names an earlier one
and bars the one that was served from automatic promotion; `approve` and `reject` are a person's word on a digest;
`hold` asks for a person before the next promotion.
"""

from __future__ import annotations

import getpass
import os
import secrets
import socket
from datetime import UTC, datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict

from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.lake.locks import one_writer

Stage = Literal["staging", "production"]
Action = Literal["deploy", "promote", "rollback", "approve", "reject", "hold"]
SERVES = ("deploy", "promote", "rollback")


class LedgerError(LookupError):
    """The ledger has nothing to do this with; the message says what is missing."""


class Event(BaseModel):
    """One row of the ledger. previous: the digest that the stage served before."""

    model_config = ConfigDict(frozen=True)

    event_id: str
    sequence: int
    at: datetime
    stage: Stage
    action: Action
    digest: str | None
    version: int | None
    previous: str | None
    actor: str
    reason: str
    policy_digest: str | None
    dagster_run_id: str | None


def person() -> str:
    """user@host of this process: the actor where no one has authenticated."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's user id without a name
        user = f"uid{os.getuid()}"
    return f"{user}@{socket.gethostname()}"


def machine(policy_digest: str) -> str:
    """The actor of what a policy decides."""
    return f"auto:{policy_digest}"


def events(lake: Lake, stage: Stage | None = None) -> list[Event]:
    """Oldest first; all stages where none is named."""
    rows = lake.read("deployments").sort_by([("sequence", "ascending"), ("at", "ascending")]).to_pylist()
    return [Event.model_validate(row) for row in rows if stage in (None, row["stage"])]


def record(
    lake: Lake,
    stage: Stage,
    action: Action,
    *,
    digest: str | None,
    version: int | None,
    actor: str,
    reason: str,
    policy_digest: str | None = None,
    dagster_run_id: str | None = None,
    event_id: str | None = None,
) -> Event:
    """Appends an event. The same event_id again (a retried step) changes nothing and gives the first one back.

    Raises ValueError for an event without a reason or, but for `hold`, without a digest, and for a person's word on
    staging: words and holds are about production.
    """
    if stage != "production" and action in ("approve", "reject", "hold"):
        raise ValueError(f"{action} is about production, not {stage}.")
    if not reason.strip():
        raise ValueError(f"{action} needs a reason.")
    if digest is None and action != "hold":
        raise ValueError(f"{action} needs the digest of a model.")
    event_id = event_id or secrets.token_hex(8)
    with one_writer(lake, "deployments"):
        while True:
            before = events(lake)
            for event in before:
                if event.event_id == event_id:
                    return event
            current = served(before, stage)
            made = Event(
                event_id=event_id,
                sequence=1 + max((e.sequence for e in before), default=0),
                at=datetime.now(UTC),
                stage=stage,
                action=action,
                digest=digest,
                version=version,
                previous=current.digest if current else None,
                actor=actor,
                reason=reason.strip(),
                policy_digest=policy_digest,
                dagster_run_id=dagster_run_id,
            )
            # No lock holds on S3: there the sequence is the unit, and who loses the race for it looks again.
            if lake.append("deployments", [made.model_dump()], f"sequence:{made.sequence}"):
                return made


def served(history: list[Event], stage: Stage) -> Event | None:
    """The newest event that says what the stage serves."""
    return next((e for e in reversed(history) if e.stage == stage and e.action in SERVES), None)


def desired(lake: Lake, stage: Stage) -> Event | None:
    """What the stage is to serve now; None before the first deployment."""
    return served(events(lake, stage), stage)


def barred(history: list[Event]) -> dict[str, str]:
    """{digest: why} that no machine may promote: rolled back from, or rejected; a later approval lifts it."""
    found: dict[str, str] = {}
    for event in history:
        if event.stage != "production":
            continue
        if event.action == "rollback" and event.previous is not None and event.previous != event.digest:
            found[event.previous] = f"rolled back by {event.actor}: {event.reason}"
        elif event.action == "reject" and event.digest is not None:
            found[event.digest] = f"rejected by {event.actor}: {event.reason}"
        elif event.action == "approve" and event.digest is not None:
            found.pop(event.digest, None)
    return found


def rollback_target(history: list[Event]) -> Event:
    """The event of the newest digest that production served before the present one and that is not barred.

    Raises LedgerError where there is none.
    """
    now = served(history, "production")
    if now is None:
        raise LedgerError("Production has served nothing yet: there is nothing to roll back.")
    out = barred(history)
    for event in reversed(history):
        serves = event.stage == "production" and event.action in SERVES
        if serves and event.sequence < now.sequence and event.digest != now.digest and event.digest not in out:
            return event
    raise LedgerError(
        f"Production served nothing before {now.digest} that is not barred: no model to roll back to. "
        "`carsdepo approve VERSION` lifts a bar and promotes that model, where staging has found it right."
    )


def latest_decision(history: list[Event], digest: str) -> Event | None:
    """A person's newest word on a digest, approve or reject, while it stands.

    An approval is good for one promotion: it is used up when production comes to serve the digest, and a rollback from
    the digest takes it back. A rejection stands until the digest is approved.
    """
    used = False
    for event in reversed(history):
        if event.stage != "production":
            continue
        if event.digest == digest and event.action == "reject":
            return event
        if event.digest == digest and event.action == "approve":
            return None if used else event
        if event.action in SERVES and digest in (event.digest, event.previous):
            used = True
    return None


def promotion_hold(history: list[Event]) -> Event | None:
    """The hold that the next promotion must heed: one since production last changed."""
    for event in reversed(history):
        if event.stage == "production" and event.action in SERVES:
            return None
        if event.stage == "production" and event.action == "hold":
            return event
    return None
