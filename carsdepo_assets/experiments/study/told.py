"""A study as it is now, told from the ledger in the lake: neither Optuna's nor MLflow's database is asked."""

from __future__ import annotations

from typing import Any

from carsdepo_assets.experiments.study.conclusion import conclude
from carsdepo_assets.experiments.study.errors import StudyError
from carsdepo_assets.experiments.study.planning import described, read_plan, studies
from carsdepo_assets.experiments.study.report import leaderboard
from carsdepo_assets.lake import trials
from carsdepo_assets.lake.lake import Lake


def study_now(lake: Lake, name: str | None = None) -> dict[str, Any]:
    """A study's plan, leaderboard, conclusion and pin, of JSON's types.

    Args:
        lake: the lake.
        name: of the study; None: the newest.

    Raises:
        StudyError: there is no such study, or none at all.
    """
    if name is None:
        name = next(iter(studies(lake)), None)
        if name is None:
            raise StudyError(f"{lake.url} has no study yet: `carsdepo study` makes one.")
    plan = read_plan(lake, name)
    events = trials.events(lake, name)
    ledger, concluded, pinned = trials.trials(events), trials.conclusion(events), trials.pin(events)
    result = conclude(plan, ledger)
    return {
        "study": plan.study,
        "dataset": plan.dataset,
        "report_id": plan.report_id,
        "begun": plan.at.isoformat(),
        "plan": described(plan),
        "currency": plan.currency,
        "leaderboard": leaderboard(ledger, result, pinned, over=concluded is not None),
        "conclusion": None if concluded is None else concluded.message,
        "winner": None if concluded is None else concluded.number,
        "pinned": None
        if pinned is None
        else {"trial": pinned.number, "actor": pinned.actor, "reason": pinned.message, "at": pinned.at.isoformat()},
    }
