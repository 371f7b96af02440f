"""Decides whether a retraining is due, from the state of labels and trainings.

The decision does not depend on events, so that labels which come at any moment are taken up at a later look.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.lake.trainings import RECIPE_ITSELF
from carsdepo_assets.orchestration.decision import Decision
from carsdepo_assets.policy import Fallback, TrainingPolicy
from carsdepo_assets.registry.labels_learnt import LabelCoverage


@dataclass(frozen=True)
class RetrainingInputs:
    """What the decision depends on."""

    labels: int
    """The state of the labels in the lake: revisions of processed photographs."""
    trained: int
    """The state of the labels at the dataset of the last model that met the floor."""
    asked_by: str | None = None
    """The drift report that asks for a retraining; None where none does."""
    training: bool = False
    """Whether a training is under way."""
    ingesting: bool = False
    """Whether labels are being ingested."""
    newest_label_s: float | None = None
    """Age of the newest label in seconds; None without labels."""
    attempts: int = 0
    """Runs of what is next at this state of the labels, whoever asked for them."""
    next: str | None = RECIPE_ITSELF
    """What comes next at this state: `recipe` or a fallback's name; None: nothing is left to try."""
    settled: str | None = None
    """What a person did about labels that are not learnt, in a sentence; None: nothing."""


@dataclass(frozen=True)
class RetrainingDue:
    """A training is to be started."""

    attempt: int
    """The number of the attempt, from 1."""
    fallback: str | None = None
    """The policy's fallback to try; None: the usual recipe."""


@dataclass(frozen=True)
class GivenUp:
    """A recipe is not tried any more: this is recorded as its outcome, so that the next fallback has its turn."""

    fallback: str | None
    """The fallback that is given up; None: the usual recipe."""
    reason: str
    impossible: bool = False
    """Whether it was not tried at all."""


@dataclass(frozen=True)
class PersonAsked:
    """Nothing is left to try by itself, so a person is asked what to do."""


def asked_by(lake: Lake, since: datetime | None) -> str | None:
    """The newest drift report that asked for a retraining after `since`; None where none did.

    Args:
        since: None: at any time.
    """
    rows = lake.read("routes", columns=["report_id", "at", "actions"]).to_pylist()
    asking = [r for r in rows if "retrain" in (r["actions"] or []) and (since is None or r["at"] > since)]
    return str(max(asking, key=lambda r: r["at"])["report_id"]) if asking else None


def retraining_decision(
    now: RetrainingInputs, policy: TrainingPolicy, impossible: Callable[[Fallback], str | None] = lambda change: None
) -> Decision[RetrainingDue | GivenUp | PersonAsked]:
    """Decides what happens about the labels that are not learnt yet.

    New labels start a training: policy.min_new_labels of them, or a single one where a drift report asks for it. Drift
    without new labels starts none, since the same model would come out. Where the model is under the floor, the
    policy's fallbacks follow, each once. Where runs end without an evaluated model (killed, a loss that is no number),
    the same recipe is tried up to policy.max_attempts times.

    Args:
        impossible: gives the reason why a fallback changes nothing or lacks its weights; None where it can be tried.

    Returns:
        A training to start, a recipe to give up, or that a person is asked; no action where nothing happens now. The
        message says why.
    """
    new = now.labels - now.trained
    if new < 1:
        waiting = (
            f" Drift report {now.asked_by} asks for a retraining: it waits for new labels." if now.asked_by else ""
        )
        return Decision(
            None, f"{now.labels} label revisions in the lake, {now.trained} when the last model was trained.{waiting}"
        )
    if now.settled is not None:
        return Decision(None, f"{new} label revisions are not learnt, and nothing more is tried. {now.settled}")
    if now.next == RECIPE_ITSELF and new < policy.min_new_labels and now.asked_by is None:
        return Decision(
            None,
            f"{new} label revisions since the last training; "
            f"policy.training.min_new_labels is {policy.min_new_labels}.",
        )
    if now.training:
        return Decision(None, "A training is under way; the newer labels wait for it.")
    if now.ingesting:
        return Decision(None, "Labels are being ingested.")
    if now.newest_label_s is not None and now.newest_label_s < policy.debounce_s:
        return Decision(None, f"The newest label is under {policy.debounce_s:g} s old: more may follow.")
    if now.next is None:
        return Decision(
            PersonAsked(), f"Every training at label state {now.labels} was under the floor or could not be tried."
        )
    if now.next == RECIPE_ITSELF:
        if now.attempts >= policy.max_attempts:
            return _give_up(
                None,
                f"{now.attempts} trainings at label state {now.labels} did not finish: see their runs; "
                "new labels or a manual run of `train` start the next.",
            )
        return Decision(RetrainingDue(now.attempts + 1), f"A training on {new} label revisions.")
    change = next(c for c in policy.fallbacks if c.name == now.next)
    reason = impossible(change)
    if reason is not None:
        return _give_up(change.name, f"Not tried: {reason}.", impossible=True)
    if now.attempts >= policy.max_attempts:
        return _give_up(change.name, f"{now.attempts} trainings did not finish: see their runs.")
    return Decision(
        RetrainingDue(now.attempts + 1, change.name), f"The fallback {change.name} on {new} label revisions."
    )


def _give_up(fallback: str | None, reason: str, *, impossible: bool = False) -> Decision[GivenUp]:
    return Decision(GivenUp(fallback, reason, impossible), reason)


def retraining_inputs(now: LabelCoverage, **facts: object) -> RetrainingInputs:
    """The inputs that follow from how far the labels are learnt; the other fields are given by name."""
    return RetrainingInputs(
        labels=now.label_state,
        trained=now.label_state - now.unlearnt,
        next=now.next,
        settled=now.settled,
        **facts,  # type: ignore[arg-type]
    )
