"""Whether a retraining is due: a function of what is there, not of what just happened, so nothing is ever missed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.policy import TrainingPolicy


@dataclass(frozen=True)
class Situation:
    """labels, trained: label states of the lake and of the last judged model. asked_by: see asked_by().

    attempts: trainings started at this label state, by whomever. newest_label_s: age of the newest label in seconds.
    """

    labels: int
    trained: int
    asked_by: str | None = None
    training: bool = False
    ingesting: bool = False
    newest_label_s: float | None = None
    attempts: int = 0


@dataclass(frozen=True)
class Due:
    """attempt: from 1."""

    attempt: int


def asked_by(lake: Lake, since: datetime | None) -> str | None:
    """The newest drift report whose route asked for a retraining after `since` (None: ever); None where none did."""
    rows = lake.read("routes", columns=["report_id", "at", "actions"]).to_pylist()
    asking = [r for r in rows if "retrain" in (r["actions"] or []) and (since is None or r["at"] > since)]
    return str(max(asking, key=lambda r: r["at"])["report_id"]) if asking else None


def due(now: Situation, rules: TrainingPolicy) -> Due | str:
    """A training to start, or why none is.

    Labels since the last training start it: policy.min_new_labels of them, or a single one where drift asked for it.
    Drift alone does not: without anything new to learn the same model would come out.
    """
    new = now.labels - now.trained
    if new < 1:
        waiting = (
            f" Drift report {now.asked_by} asks for a retraining: it waits for new labels." if now.asked_by else ""
        )
        return f"{now.labels} label revisions in the lake, {now.trained} when the last model was trained.{waiting}"
    if new < rules.min_new_labels and now.asked_by is None:
        return (
            f"{new} label revisions since the last training; policy.training.min_new_labels is {rules.min_new_labels}."
        )
    if now.training:
        return "A training is under way; the newer labels wait for it."
    if now.ingesting:
        return "Labels are being ingested."
    if now.newest_label_s is not None and now.newest_label_s < rules.debounce_s:
        return f"The newest label is under {rules.debounce_s:g} s old: more may follow."
    if now.attempts >= rules.max_attempts:
        return (
            f"{now.attempts} trainings at label state {now.labels} did not finish: see their runs; "
            "new labels or a manual run of `train` start the next."
        )
    return Due(now.attempts + 1)
