"""The deployment ledger: which model each stage is to serve, who decided it and why.

It is a table that only grows; MLflow's aliases follow it.

Kinds of event: `deploy` (staging) and `promote` (production) name a digest to serve, `rollback` names an earlier one
and bars the one that was served from automatic promotion; `approve` and `reject` are a person's decision about a
digest; `hold` makes the next promotion wait for a person.
"""

from __future__ import annotations

import functools
import getpass
import os
import secrets
import socket
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict

from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.lake.locks import one_writer

Stage = Literal["staging", "production"]
Action = Literal["deploy", "promote", "rollback", "approve", "reject", "hold"]
SERVES = ("deploy", "promote", "rollback")
UNREASONED = "without a reason"  # ends the reason of a decision from elsewhere that came with none


class LedgerError(LookupError):
    """The ledger holds no event that this could be done with; the message says what is missing."""


class Event(BaseModel):
    """One row of the ledger."""

    model_config = ConfigDict(frozen=True)

    event_id: str
    """Names the event; writing it again changes nothing."""
    sequence: int
    """Place in the ledger, counted from 1."""
    at: datetime
    """When it was written."""
    stage: Stage
    """The stage that it is about."""
    action: Action
    """What was decided."""
    digest: str | None
    """The model that it is about; None for a hold."""
    version: int | None
    """The model's number in the registry, where the writer knew it."""
    previous: str | None
    """The model that the stage was to serve before."""
    actor: str
    """Who decided: user@host, or auto:<digest of the policy>."""
    reason: str
    """Why, in words."""
    policy_digest: str | None
    """The policy in force, where one decided."""
    dagster_run_id: str | None
    """The run that wrote it."""

    @property
    def says_why(self) -> bool:
        """Whether whoever decided gave a reason; only decisions that come from elsewhere may lack one."""
        return not self.reason.endswith(UNREASONED)


def person() -> str:
    """user@host of this process: the actor where no one has authenticated."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's user id without a name
        user = f"uid{os.getuid()}"
    return f"{user}@{socket.gethostname()}"


def machine(policy_digest: str) -> str:
    """The actor where a policy decides instead of a person."""
    return f"auto:{policy_digest}"


def events(lake: Lake, stage: Stage | None = None) -> list[Event]:
    """The ledger's events, oldest first; of one stage or of all."""
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
    """Appends an event to the ledger.

    Args:
        lake: The lake that holds the ledger.
        stage: The stage that the event is about; decisions of people and holds are about production.
        action: What was decided.
        digest: The model; None for a hold alone.
        version: The model's number in the registry, where it is known.
        actor: Who decided: `person()` or `machine(...)`.
        reason: Why, in words.
        policy_digest: The policy in force, where one decided.
        dagster_run_id: The run that writes.
        event_id: Names the event, so that a step that is repeated writes it once; None makes up a new name.

    Returns:
        The event; where one with this event_id exists, that one.

    Raises:
        ValueError: There is no reason, no digest where one is needed, or the action does not fit the stage.
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
            history = LedgerHistory.read(lake)
            for earlier in history.events:
                if earlier.event_id == event_id:
                    return earlier
            current = history.served(stage)
            event = Event(
                event_id=event_id,
                sequence=1 + max((e.sequence for e in history.events), default=0),
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
            if lake.append("deployments", [event.model_dump()], f"sequence:{event.sequence}"):
                return event


def desired(lake: Lake, stage: Stage) -> Event | None:
    """The event that says what a stage is to serve now; None before the first deployment."""
    return LedgerHistory.read(lake).served(stage)


@dataclass(frozen=True)
class LedgerHistory:
    """All events of the ledger as they were at one time, and what follows from them.

    Two histories are equal where nobody has written in between.
    """

    events: tuple[Event, ...]
    """Oldest first, of all stages."""

    @classmethod
    def read(cls, lake: Lake) -> LedgerHistory:
        """The lake's ledger as it is now."""
        return cls(tuple(events(lake)))

    def served(self, stage: Stage) -> Event | None:
        """The newest event that says what the stage serves; None before the first deployment."""
        return next((e for e in reversed(self.events) if e.stage == stage and e.action in SERVES), None)

    @functools.cached_property
    def barred(self) -> dict[str, str]:
        """Digests that no policy may promote by itself, each with the reason in words.

        A model is barred when production is rolled back from it or a person rejects it; a later approval lifts the bar.
        """
        reasons: dict[str, str] = {}
        for event in self._of_production():
            if event.action == "rollback" and event.previous is not None and event.previous != event.digest:
                reasons[event.previous] = f"rolled back by {event.actor}: {event.reason}"
            elif event.action == "reject" and event.digest is not None:
                reasons[event.digest] = f"rejected by {event.actor}: {event.reason}"
            elif event.action == "approve" and event.digest is not None:
                reasons.pop(event.digest, None)
        return reasons

    def rollback_target(self) -> Event:
        """The event that a rollback of production goes back to.

        It is that of the newest model that production served before its present one and that is not barred.

        Raises:
            LedgerError: There is no such model.
        """
        present = self.served("production")
        if present is None:
            raise LedgerError("Production has served nothing yet: there is nothing to roll back.")
        for event in reversed(self._of_production()):
            earlier = event.action in SERVES and event.sequence < present.sequence
            if earlier and event.digest != present.digest and event.digest not in self.barred:
                return event
        raise LedgerError(
            f"Production served nothing before {present.digest} that is not barred: no model to roll back to. "
            "`carsdepo approve VERSION` lifts a bar and promotes that model, if it has passed staging's validation."
        )

    def latest_decision(self, digest: str) -> Event | None:
        """A person's newest decision on a model, `approve` or `reject`, while it stands.

        An approval is good for one promotion: it is used up when production comes to serve the model, and a rollback
        from the model takes it back. A rejection stands until the model is approved.
        """
        used = False
        for event in reversed(self._of_production()):
            if event.digest == digest and event.action == "reject":
                return event
            if event.digest == digest and event.action == "approve":
                return None if used else event
            if event.action in SERVES and digest in (event.digest, event.previous):
                used = True
        return None

    @functools.cached_property
    def pending_approval(self) -> Event | None:
        """The newest approval that stands and came after production last changed: its model is to be promoted."""
        for event in reversed(self._of_production()):
            if event.action in SERVES:
                return None
            if event.action == "approve" and event.digest is not None and self.latest_decision(event.digest) == event:
                return event
        return None

    @functools.cached_property
    def promotion_hold(self) -> Event | None:
        """The hold that keeps the next promotion waiting for a person: one since production last changed."""
        for event in reversed(self._of_production()):
            if event.action in SERVES:
                return None
            if event.action == "hold":
                return event
        return None

    def _of_production(self) -> list[Event]:
        return [event for event in self.events if event.stage == "production"]
