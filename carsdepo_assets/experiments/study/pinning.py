"""A person takes another trial than the winner."""

from __future__ import annotations

from datetime import datetime

from carsdepo_assets.experiments.study.conclusion import conclude
from carsdepo_assets.experiments.study.errors import StudyError
from carsdepo_assets.experiments.study.planning import StudyPlan, read_plan
from carsdepo_assets.experiments.study.report import publish_study
from carsdepo_assets.lake import trials
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.lake.trials import TrialEvent


def trial_to_pin(lake: Lake, study: str, number: int) -> tuple[StudyPlan, TrialEvent]:
    """How a trial ended that can be pinned, and the plan of its study.

    Raises:
        StudyError: there is no such study or trial, or the trial has no score.
    """
    plan = read_plan(lake, study)
    ledger = trials.trials(trials.events(lake, study))
    trial = next((t for t in ledger if t.number == number), None)
    if trial is None:
        there = f"0 to {ledger[-1].number}" if ledger else "none yet"
        raise StudyError(f"study {study} has no trial {number}; its trials are {there}.")
    if trial.ended is None or trial.value is None:
        raise StudyError(f"trial {number} of study {study} is {trial.state}: only a trial with a score can be taken.")
    return plan, trial.ended


def pin_trial(
    lake: Lake, study: str, number: int, *, reason: str, actor: str, now: datetime, pin_id: str
) -> tuple[StudyPlan, TrialEvent]:
    """Records that a person takes a trial: the next recipe follows it, whatever its score.

    Args:
        lake: the lake.
        study: the study, which may still run.
        number: of the trial.
        reason: why; it is kept.
        actor: who.
        now: when.
        pin_id: names the pin, so that a run that is repeated pins once.

    Returns:
        The study's plan, and the event.

    Raises:
        StudyError: there is no such study or trial, the trial left no model, or the reason is empty.
    """
    if not reason.strip():
        raise StudyError("Say why: the reason must not be empty. It is kept with the study.")
    plan, ended = trial_to_pin(lake, study, number)
    events = trials.events(lake, study)
    ledger = trials.trials(events)
    event = ended.model_copy(
        update={"at": now, "state": "pinned", "message": reason.strip(), "actor": actor, "dagster_run_id": None}
    )
    trials.record_event(lake, event, f"pinned:{pin_id}")
    over = trials.conclusion(events) is not None
    publish_study(lake, plan, ledger, conclude(plan, ledger), now, over=over, pinned=event)
    return plan, event
