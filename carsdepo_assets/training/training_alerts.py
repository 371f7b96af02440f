"""The alerts about trainings that gave no usable model."""

from __future__ import annotations

from carsdepo_assets.alerts.channels import AlertFields
from carsdepo_assets.lake.trainings import RECIPE_ITSELF, Outcome
from carsdepo_assets.registry.labels_learnt import LabelCoverage
from carsdepo_assets.training.candidates import Candidate, Plan

UNDER_FLOOR, HOPELESS, NEEDS_PERSON = "training_under_floor", "training_hopeless", "training_needs_person"
WHAT_TO_DO = (
    "What to do: add labels or correct them; train by hand (`carsdepo train --minutes M --detector D`); or approve a "
    'model under the floor (`carsdepo approve VERSION --reason "..."`).'
)


def under_floor(outcome: Outcome, candidate: Candidate, run_url: str) -> AlertFields:
    """The alert about a candidate under the floor.

    Args:
        outcome: of the candidate's training, with its figures.
        run_url: page of the run that evaluated it.
    """
    recipe = candidate.recipe
    start = f"champion {recipe.champion}" if recipe.champion else recipe.init
    map50 = "undefined" if outcome.map50 is None else f"{outcome.map50:.3f}"
    return {
        "kind": UNDER_FLOOR,
        "key": f"{UNDER_FLOOR}:{outcome.label_state}:{outcome.digest}",
        "severity": "warning",
        "title": f"A training is under the floor: mAP@.5 {map50} of {outcome.floor:.3f}",
        "body": (
            f"Model version {outcome.version} ({outcome.digest}), trained on dataset {outcome.dataset} at label state "
            f"{outcome.label_state} by {recipe.detector} at {recipe.image_size} px from {start}"
            f"{f', fallback {outcome.fallback}' if outcome.fallback else ''}: {outcome.reason} It is no candidate, and "
            "its labels do not count as learnt: the sensor `retrain` tries the policy's fallbacks (training.fallbacks) "
            f"one after another.\n{' '.join(candidate.why)}\n{run_url}"
        ),
    }


def hopeless(outcome: Outcome, plan: Plan, finding: str, run_url: str) -> AlertFields:
    """The alert about a training that its diagnosis stopped.

    Args:
        outcome: of the training.
        plan: what it worked on.
        finding: the name of what was found.
        run_url: page of its run.
    """
    recipe = plan.recipe
    return {
        "kind": HOPELESS,
        "key": f"{HOPELESS}:{outcome.unit()}",
        "severity": "warning",
        "title": f"A training was stopped as hopeless: {finding}",
        "body": (
            f"{recipe.detector} at {recipe.image_size} px from {recipe.champion or recipe.init} on dataset "
            f"{plan.dataset}{f', fallback {plan.fallback}' if plan.fallback else ''}. {outcome.reason} There is no "
            "model of it, and its labels do not count as learnt: the sensor `retrain` tries the policy's fallbacks "
            f"(training.fallbacks) one after another.\n{' '.join(plan.why)}\n{run_url}"
        ),
    }


def needs_person(now: LabelCoverage) -> AlertFields:
    """The alert that asks a person what to do; one for a state of the labels, repeated as the policy says.

    Args:
        now: how far the labels are learnt; its `needs_person` is true.
    """
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
        "body": f"{now.message}\n{tries}\n{WHAT_TO_DO}",
    }
