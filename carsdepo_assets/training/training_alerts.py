"""What people are told of trainings whose models are under the floor: fields of an alert, in whole sentences."""

from __future__ import annotations

from typing import Literal, TypedDict

from carsdepo_assets.lake.trainings import RECIPE_ITSELF, Outcome
from carsdepo_assets.registry.labels_learnt import LabelCoverage
from carsdepo_assets.training.candidates import Candidate

UNDER_FLOOR, NEEDS_PERSON = "training_under_floor", "training_needs_person"
WHAT_TO_DO = (
    "What settles it: more labels, or other ones; a training by hand (`carsdepo train --minutes M --detector D`); a "
    'model approved all the same (`carsdepo approve VERSION --reason "..."`).'
)


class AlertFields(TypedDict):
    """As AlertsResource.send takes them."""

    kind: str
    key: str
    severity: Literal["info", "warning", "critical"]
    title: str
    body: str


def under_floor(outcome: Outcome, candidate: Candidate, run_url: str) -> AlertFields:
    """outcome: of the candidate, with its figures. run_url: of the run that judged it."""
    recipe = candidate.recipe
    start = f"champion {recipe.champion}" if recipe.champion else recipe.init
    return {
        "kind": UNDER_FLOOR,
        "key": f"{UNDER_FLOOR}:{outcome.label_state}:{outcome.digest}",
        "severity": "warning",
        "title": f"A training is under the floor: mAP@.5 {outcome.map50:.3f} of {outcome.floor:.3f}",
        "body": (
            f"Model version {outcome.version} ({outcome.digest}), trained on dataset {outcome.dataset} at label state "
            f"{outcome.label_state} by {recipe.detector} at {recipe.image_size} px from {start}"
            f"{f', fallback {outcome.fallback}' if outcome.fallback else ''}: {outcome.reason} It is no candidate, and "
            "its labels do not count as learnt: the sensor `retrain` tries the policy's fallbacks (training.fallbacks) "
            f"one after another.\n{' '.join(candidate.why)}\n{run_url}"
        ),
    }


def needs_person(now: LabelCoverage) -> AlertFields:
    """now: needs_person holds. One alert for a state of the labels, repeated as the policy says."""
    tries = "\n".join(f"- {o.tried}: {o.reason}" for o in now.tries if o.asked_by == "retrain")
    last = now.tries[-1]
    finished = not (last.tried == RECIPE_ITSELF and last.outcome == "did_not_finish")
    return {
        "kind": NEEDS_PERSON,
        "key": f"{NEEDS_PERSON}:{now.label_state}",
        "severity": "critical",
        "title": (
            "No training reached the floor: a person is asked"
            if finished
            else "No training finished: a person is asked"
        ),
        "body": f"{now.said}\n{tries}\n{WHAT_TO_DO}",
    }
