"""Words the alert for a run that waits too long: for what it waits, and what to do. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from carsdepo_assets.alerts.channels import Alert


@dataclass(frozen=True)
class Holder:
    """A run that holds what another run waits for."""

    run_id: str
    job: str | None
    status: str | None
    """Dagster's; None when the run no longer exists."""


@dataclass(frozen=True)
class WaitingRun:
    """A run that waits, and for what."""

    run_id: str
    job: str
    since: datetime
    """When it began to wait."""
    pool: str | None = None
    """The concurrency pool in which it waits for a slot; None: it waits for its turn in the queue."""
    step: str | None = None
    """The step that waits for the pool, where the run has begun."""
    holders: tuple[Holder, ...] = ()
    """The runs that hold the pool's slots, or that are running in its stead."""
    places: int | None = None
    """How many runs may run at a time; None: no limit."""


def alert_of(run: WaitingRun, now: datetime, limit_s: float, url: Callable[[str], str]) -> Alert | None:
    """Words the alert for a run that has waited too long; None for one that has not.

    Args:
        run: that waits.
        now: the present, with a time zone.
        limit_s: seconds from which on a wait is too long (policy.alerts.run_waiting_s).
        url: gives the page of a run by its id.
    """
    waited = (now - run.since).total_seconds()
    if waited <= limit_s:
        return None
    what, to_do = _reason(run)
    lines = [
        f"The run of {run.job} has waited for {waited / 60:.0f} minutes {what}.",
        *(f"{_name(holder)}: {url(holder.run_id)}" for holder in run.holders),
        to_do,
        f"The run that waits: {url(run.run_id)}",
    ]
    key = f"run_waiting:{run.run_id}:{run.pool or 'turn'}"
    return Alert("run_waiting", key, "warning", f"Run of {run.job} waits", "\n".join(lines))


def _reason(run: WaitingRun) -> tuple[str, str]:
    """(what it waits for, what to do)."""
    if run.pool is not None:
        where = f" for step {run.step}" if run.step else ""
        if not run.holders:
            return (
                f"for the pool {run.pool}{where}, which no run holds",
                f"See the limit of {run.pool} in Dagster under Deployment, Concurrency: a limit of 0 lets nothing run.",
            )
        return (
            f"for the pool {run.pool}{where}, which {len(run.holders)} other "
            f"{'run holds' if len(run.holders) == 1 else 'runs hold'}",
            "Wait for it, or terminate it on its page; what it held is then given to the next.",
        )
    if run.places is not None and len(run.holders) >= run.places:
        return (
            f"for its turn: {run.places} runs may run at a time, and these do",
            "Wait for one of them, or terminate it on its page.",
        )
    return (
        "to be started, though there is room for it",
        "See the log of Dagster's daemon and of its code server; terminate the run if nothing starts it.",
    )


def _name(holder: Holder) -> str:
    if holder.status is None:
        return "Held by a run that no longer exists (settle_runs frees it)"
    return f"Held by the run of {holder.job}, {holder.status.lower()}"
