"""Whether a retraining is due: a function of what is there, not of what just happened, so nothing is ever missed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.lake.trainings import RECIPE_ITSELF
from carsdepo_assets.policy import Fallback, TrainingPolicy
from carsdepo_assets.registry.labels_learnt import LabelCoverage


@dataclass(frozen=True)
class RetrainingInputs:
    """labels, trained: label states of the lake and of the last model that met the floor. asked_by: see asked_by().

    next: what comes next at this label state, `recipe` or a fallback's name; None: nothing is left to try. settled:
    what a person did about it. attempts: runs of what is next at this state, whoever asked. newest_label_s:
    age of the newest label in seconds.
    """

    labels: int
    trained: int
    asked_by: str | None = None
    training: bool = False
    ingesting: bool = False
    newest_label_s: float | None = None
    attempts: int = 0
    next: str | None = RECIPE_ITSELF
    settled: str | None = None


@dataclass(frozen=True)
class RetrainingDue:
    """attempt: from 1. fallback: the policy's name of the change that is tried; None: the usual recipe."""

    attempt: int
    fallback: str | None = None


@dataclass(frozen=True)
class GivenUp:
    """What is next ends without a model, or is none: to be recorded as the outcome of `fallback` (None: the recipe
    itself), so that what comes after it has its turn. impossible: it was not tried at all."""

    fallback: str | None
    reason: str
    impossible: bool = False


@dataclass(frozen=True)
class PersonAsked:
    """Nothing is left to try by itself."""

    reason: str


def asked_by(lake: Lake, since: datetime | None) -> str | None:
    """The newest drift report whose route asked for a retraining after `since` (None: ever); None where none did."""
    rows = lake.read("routes", columns=["report_id", "at", "actions"]).to_pylist()
    asking = [r for r in rows if "retrain" in (r["actions"] or []) and (since is None or r["at"] > since)]
    return str(max(asking, key=lambda r: r["at"])["report_id"]) if asking else None


def retraining_decision(
    now: RetrainingInputs, rules: TrainingPolicy, impossible: Callable[[Fallback], str | None] = lambda change: None
) -> RetrainingDue | GivenUp | PersonAsked | str:
    """A training to start; or what is given up, or that a person is asked; or in words why nothing happens now.

    Labels since the last training start it: policy.min_new_labels of them, or a single one where drift asked for it.
    Drift alone does not: without anything new to learn the same model would come out. A model under the floor has
    learnt nothing: the policy's fallbacks follow, each once. Runs that end without a judged model (killed, a loss that
    is no number) are another matter: the same recipe is tried up to policy.max_attempts times. impossible: why a
    fallback changes nothing or lacks its weights, None where it can be tried.
    """
    new = now.labels - now.trained
    if new < 1:
        waiting = (
            f" Drift report {now.asked_by} asks for a retraining: it waits for new labels." if now.asked_by else ""
        )
        return f"{now.labels} label revisions in the lake, {now.trained} when the last model was trained.{waiting}"
    if now.settled is not None:
        return f"{new} label revisions are not learnt, and nothing more is tried. {now.settled}"
    if now.next == RECIPE_ITSELF and new < rules.min_new_labels and now.asked_by is None:
        return (
            f"{new} label revisions since the last training; policy.training.min_new_labels is {rules.min_new_labels}."
        )
    if now.training:
        return "A training is under way; the newer labels wait for it."
    if now.ingesting:
        return "Labels are being ingested."
    if now.newest_label_s is not None and now.newest_label_s < rules.debounce_s:
        return f"The newest label is under {rules.debounce_s:g} s old: more may follow."
    if now.next is None:
        return PersonAsked(f"Every training at label state {now.labels} was under the floor or could not be tried.")
    if now.next == RECIPE_ITSELF:
        if now.attempts >= rules.max_attempts:
            return GivenUp(
                None,
                f"{now.attempts} trainings at label state {now.labels} did not finish: see their runs; "
                "new labels or a manual run of `train` start the next.",
            )
        return RetrainingDue(now.attempts + 1)
    change = next(c for c in rules.fallbacks if c.name == now.next)
    reason = impossible(change)
    if reason is not None:
        return GivenUp(change.name, f"Not tried: {reason}.", impossible=True)
    if now.attempts >= rules.max_attempts:
        return GivenUp(change.name, f"{now.attempts} trainings did not finish: see their runs.")
    return RetrainingDue(now.attempts + 1, change.name)


def retraining_inputs(now: LabelCoverage, **facts: object) -> RetrainingInputs:
    """The situation of what is learnt; facts: the other fields."""
    return RetrainingInputs(
        labels=now.label_state,
        trained=now.label_state - now.unlearnt,
        next=now.next,
        settled=now.settled,
        **facts,  # type: ignore[arg-type]
    )
