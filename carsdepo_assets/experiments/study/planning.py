"""The plan of a study: what it will try on which dataset, for how long and for how much. Stored before it runs."""

from __future__ import annotations

import hashlib
import json
from datetime import datetime
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from carsdepo_assets.detectors.base import Recipe
from carsdepo_assets.detectors.recipe_changes import epochs_for, impossible
from carsdepo_assets.experiments.adjustments import Adjustments
from carsdepo_assets.experiments.champion import champion_for
from carsdepo_assets.experiments.recipes import choose_recipe
from carsdepo_assets.experiments.study.chosen import current_adjustments
from carsdepo_assets.experiments.study.data_checks import StudyData, check_data, dataset_of
from carsdepo_assets.experiments.study.errors import StudyError
from carsdepo_assets.experiments.study.space import FAMILY, changes_of, check_space, families_of
from carsdepo_assets.lake import queues, trials
from carsdepo_assets.lake.candidates import candidate_records
from carsdepo_assets.lake.datasets import latest
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.lake.objects import key_problem
from carsdepo_assets.policy import OtherDetector, Policy, StudyPolicy
from carsdepo_assets.policy_study import tolerance_of
from carsdepo_assets.registry import ledger


class TrialPlace(BaseModel):
    """Where trials are trained."""

    model_config = ConfigDict(frozen=True)

    name: str
    """Such as `ml.g5.xlarge (sagemaker)`."""
    device: str
    """`cpu` or `cuda:0`."""
    slots: int = 1
    """Trials that can be trained there at once."""
    per_hour: float | None = 0.0
    """Price of an hour of a trial; None: not known."""


class StudyPlan(BaseModel):
    """What a study does: the content of studies/<study>/plan.json, which is not changed any more."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    study: str
    at: datetime
    dataset: str
    report_id: str | None = None
    families: tuple[str, ...]
    settings: StudyPolicy
    tolerance: float = Field(description="of mAP@.5, of 1: trials this close to the best are tied with it")
    place: TrialPlace
    currency: str
    today: Recipe = Field(description="trial 0: today's recipe, at a trial's length")
    today_changes: Adjustments = Field(description="what an earlier study changed of the usual recipe for it")
    usual: dict[str, Recipe] = Field(description="the usual recipe of each family, at a trial's length")
    data: StudyData
    expected_trial_s: float | None = Field(description="seconds of a trial, as far as is known")
    policy_digest: str

    def recipe(self, params: dict[str, Any]) -> tuple[Adjustments, Recipe]:
        """What the parameters of a trial change, and its whole recipe."""
        changes = changes_of(params, self.settings, f"Chosen by study {self.study}.")
        recipe = changes.applied(self.usual[str(params[FAMILY])])
        if recipe.steps is not None:  # another batch takes other epochs for them
            epochs = epochs_for(recipe.steps, self.data.train, recipe.batch)
            recipe = recipe.model_copy(update={"epochs": epochs})
        return changes, recipe

    def money(self, seconds: float) -> float | None:
        """What so many seconds of training cost; None where the price is not known."""
        return None if self.place.per_hour is None else seconds / 3600 * self.place.per_hour


def make_plan(
    lake: Lake,
    policy: Policy,
    place: TrialPlace,
    home: Path,
    now: datetime,
    *,
    report_id: str | None = None,
) -> StudyPlan:
    """The plan of a study on the newest dataset; nothing is written.

    The same dataset, families, settings and drift report give the same study, which goes on where it stands; another
    seed gives another one.

    Args:
        lake: the lake.
        policy: the policy in force.
        place: where trials would be trained.
        home: CARSDEPO_HOME, where pretrained weights may lie.
        now: the plan's date.
        report_id: the drift report that asks for the study; None: none does.

    Raises:
        StudyError: the dataset, the search space, the budget or the hardware makes no study possible.
        LakeError: the drift report has no labelling queue, or a damaged one.
    """
    version = latest(lake)
    if version is None:
        raise StudyError(f"{lake.url} has no dataset yet: `carsdepo dataset build` makes one of the labels of now.")
    settings, weights = policy.study, home / "weights"
    families = families_of(policy)
    if settings.device == "gpu" and place.device == "cpu":
        raise StudyError(
            f"study.device asks for a GPU, and {place.name} computes on its processor: set CARSDEPO_COMPUTE to a place "
            'that has one, or study.device = "auto".'
        )
    queue = None if report_id is None else queues.read(lake, queues.queue_id_of(report_id))
    manifest = dataset_of(lake, version)
    data = check_data(lake, version, manifest, policy, queue)
    champion = champion_for(lake, version)
    device = "cpu" if settings.device == "cpu" else place.device
    length: dict[str, Any] = {"minutes": settings.trial_minutes, "steps": settings.trial_steps, "device": device}
    chosen = current_adjustments(lake, policy, champion)
    today = choose_recipe(policy, manifest, weights, champion=champion, adjustments=chosen, **length).recipe
    usual: dict[str, Recipe] = {}
    for family in families:
        if family != today.detector:
            absent = impossible(OtherDetector(detector=family), today, weights)
            if absent is not None:
                raise StudyError(f"study.families: {family} cannot be trained here: {absent}.")
        usual[family] = choose_recipe(policy, manifest, weights, champion=champion, detector=family, **length).recipe
    check_space(settings, usual)
    seconds = _expected_s(lake, settings, today.detector)
    plan = StudyPlan(
        study=_name(version, report_id, families, settings),
        at=now,
        dataset=version,
        report_id=report_id,
        families=families,
        settings=settings,
        tolerance=tolerance_of(settings, policy.business.error_tolerance_points),
        place=place,
        currency=policy.compute.currency,
        today=today,
        today_changes=(chosen and chosen.of(today.detector)) or Adjustments(),
        usual=usual,
        data=data,
        expected_trial_s=seconds,
        policy_digest=policy.digest(),
    )
    if not lake.exists(trials.plan_key(plan.study)):  # one that was begun goes on by its own plan
        _check_budget(plan)
    return plan


def open_study(lake: Lake, plan: StudyPlan, dagster_run_id: str | None = None) -> StudyPlan:
    """Stores the plan, unless the study has one: then that one is taken.

    So a study that was begun goes on, and one that was concluded is not made again, even where today's recipe has
    changed since, perhaps by that study.
    """
    key = trials.plan_key(plan.study)
    if lake.exists(key):
        plan = read_plan(lake, plan.study)
    else:
        lake.put(key, plan.model_dump_json(indent=1).encode())
    event = trials.TrialEvent(
        study=plan.study,
        at=plan.at,
        state="opened",
        dataset=plan.dataset,
        report_id=plan.report_id,
        message=" ".join(described(plan)),
        actor=ledger.machine(plan.policy_digest),
        policy_digest=plan.policy_digest,
        dagster_run_id=dagster_run_id,
    )
    trials.record_event(lake, event, "opened")
    return plan


def read_plan(lake: Lake, study: str) -> StudyPlan:
    """A study's plan.

    Raises:
        StudyError: there is no such study, and the message names those that there are; or its plan is gone or damaged.
    """
    key = trials.plan_key(study)
    if "/" in study or key_problem(key) is not None or not lake.exists(key):
        begun = studies(lake)
        if study in begun:
            raise StudyError(f"The plan of study {study} is gone: there is no {key} in {lake.url}.")
        raise StudyError(f"no study {study!r} in {lake.url}. Studies: {', '.join(begun) or 'none yet'}.")
    try:
        return StudyPlan.model_validate_json(lake.get(key))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "its JSON"
        raise StudyError(
            f"{key} cannot be read, {where}: {first['msg']}. It is damaged, or of another release. Put it back from a "
            "backup; a study with another --seed needs none of it."
        ) from error


def studies(lake: Lake) -> list[str]:
    """The names of all studies that were begun, newest first."""
    begun_at = {e.study: e.at for e in trials.events(lake) if e.state == "opened"}
    return sorted(begun_at, key=lambda study: begun_at[study], reverse=True)


def described(plan: StudyPlan) -> list[str]:
    """The plan and its cost, in whole sentences, as they are said before anything is trained."""
    settings, data = plan.settings, plan.data
    length = (
        f"{settings.trial_minutes:g} minutes"
        if settings.trial_steps is None
        else f"{settings.trial_steps:,} optimizer steps (at most {settings.trial_minutes:g} minutes)"
    )
    varied = ", ".join(dict.fromkeys(d.name for f in plan.families for d in settings.dimensions(f))) or "nothing else"
    lines = [
        f"Study {plan.study}: up to {settings.trials} trials of {length}, over {', '.join(plan.families)}, varying "
        f"{varied}.",
        f"On dataset {plan.dataset}: {data.train:,} photographs to train on, {data.val:,} to score on, with "
        f"{data.boxes:,} boxes of {data.groups:,} cars.",
        f"Trial 0 is today's recipe: {plan.today.detector} at {plan.today.image_size} px, "
        f"{plan.today_changes.described()} by an earlier study.",
        f"At {plan.place.name}, {plan.place.device}, {min(plan.place.slots, settings.parallel)} at once. {_cost(plan)}",
    ]
    if plan.report_id is not None:
        lines.append(
            f"Drift report {plan.report_id} asks for it: a person must approve the promotion of what comes of it."
        )
    return [*lines, *data.warnings]


def _cost(plan: StudyPlan) -> str:
    settings = plan.settings
    if plan.expected_trial_s is None:
        minutes, begin = settings.trials * settings.trial_minutes, "At most"
    else:
        minutes, begin = settings.trials * plan.expected_trial_s / 60, "Expected:"
    minutes = min(minutes, settings.minutes)
    money = plan.money(minutes * 60)
    price = (
        "of unknown price (compute.prices_per_hour does not list it)"
        if money is None
        else f"{money:.2f} {plan.currency} at {plan.place.per_hour:g} an hour"
    )
    limit = "none" if settings.money is None else f"{settings.money:g} {plan.currency}"
    return (
        f"{begin} {minutes:.1f} minutes of training together, {price}. Budgets: {settings.minutes:g} minutes, money "
        f"{limit}."
    )


def _check_budget(plan: StudyPlan) -> None:
    settings = plan.settings
    if settings.money is not None and plan.place.per_hour is None:
        raise StudyError(
            f"study.money limits a study to {settings.money:g} {plan.currency}, and the price of {plan.place.name} is "
            "not known: add it to compute.prices_per_hour, or leave study.money out."
        )
    longest = settings.trial_minutes * 60 if settings.trial_steps is None else plan.expected_trial_s
    if longest is None:
        return
    if longest > settings.minutes * 60:
        raise StudyError(
            f"The budget of {settings.minutes:g} minutes (study.minutes) is smaller than one trial, which takes about "
            f"{longest / 60:.1f} here: give it more, or shorten the trials (study.trial_steps, study.trial_minutes)."
        )
    money = plan.money(longest)
    if settings.money is not None and money is not None and money > settings.money:
        raise StudyError(
            f"The budget of {settings.money:g} {plan.currency} (study.money) is smaller than the price of one trial, "
            f"about {money:.2f} {plan.currency}."
        )


def _expected_s(lake: Lake, settings: StudyPolicy, detector: str) -> float | None:
    """Seconds of a trial: its minutes, or its steps at the pace of the family's last trainings; None: not known."""
    if settings.trial_steps is None:
        return settings.trial_minutes * 60
    paces = [r.seconds / r.steps for r in candidate_records(lake) if r.detector == detector and r.seconds and r.steps][
        -5:
    ]
    if not paces:
        return None
    return float(min(settings.trial_minutes * 60, settings.trial_steps * sorted(paces)[len(paces) // 2]))


def _name(version: str, report_id: str | None, families: tuple[str, ...], settings: StudyPolicy) -> str:
    parts = (version, report_id, families, settings.model_dump(mode="json"))
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:12]
