"""Whether a study begins another trial: its budgets in trials, in minutes of training and in money."""

from __future__ import annotations

from collections.abc import Sequence

from carsdepo_assets.experiments.study.planning import StudyPlan
from carsdepo_assets.lake.trials import Trial

_FAILURES = 3  # first trials that all failed: the others would fail likewise


def stop_reason(plan: StudyPlan, ledger: Sequence[Trial]) -> str | None:
    """Why no further trial is begun, as a sentence; None where one is.

    What trials cost is taken from the ledger, so that it counts before and after a kill; those that run now count with
    what is expected.
    """
    settings = plan.settings
    if len(ledger) >= settings.trials:
        return f"All {settings.trials} trials of the plan were begun."
    ended = [t for t in ledger if t.ended is not None]
    if len(ended) >= _FAILURES and all(t.state == "failed" for t in ended):
        return f"The first {len(ended)} trials all failed: the others would fail likewise."
    next_s = expected_trial_s(plan, ledger) or 0.0
    running_s = next_s * (len(ledger) - len(ended))
    spent_s = sum(t.ended.seconds or 0.0 for t in ended if t.ended is not None)
    if ledger and spent_s + running_s + next_s > settings.minutes * 60:
        return (
            f"Another trial of about {next_s / 60:.1f} minutes would take the study beyond its {settings.minutes:g} "
            f"minutes: {spent_s / 60:.1f} were used."
        )
    paid = sum(t.ended.money or 0.0 for t in ended if t.ended is not None)
    coming = plan.money(running_s + next_s)
    if ledger and settings.money is not None and coming is not None and paid + coming > settings.money:
        return (
            f"Another trial would take the study beyond its {settings.money:g} {plan.currency}: {paid:.2f} were spent."
        )
    return None


def expected_trial_s(plan: StudyPlan, ledger: Sequence[Trial]) -> float | None:
    """Seconds of the next trial: the mean of those that ended whole, else what the plan expects; None: not known."""
    whole = [t.ended.seconds for t in ledger if t.ended is not None and t.state == "complete" and t.ended.seconds]
    return sum(whole) / len(whole) if whole else plan.expected_trial_s
