"""Carries a study out in a run of Dagster: plan, trials on the compute target, MLflow, conclusion, page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg

from carsdepo_assets.compute.target import ComputeTarget
from carsdepo_assets.compute.worker.trial import TrialTerms
from carsdepo_assets.detectors.base import Recipe
from carsdepo_assets.detectors.weights_for_workers import keep_initial_weights
from carsdepo_assets.experiments.study.budget import stop_reason
from carsdepo_assets.experiments.study.conclusion import Conclusion, conclude, record_conclusion
from carsdepo_assets.experiments.study.mlflow_trials import StudyRuns
from carsdepo_assets.experiments.study.planning import StudyPlan, TrialPlace, described, make_plan, open_study
from carsdepo_assets.experiments.study.report import publish_study
from carsdepo_assets.experiments.study.running import StudyRun, TrialInterrupted
from carsdepo_assets.experiments.study.sampling import Sampler
from carsdepo_assets.lake import trials
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.lake.locks import one_writer
from carsdepo_assets.lake.trials import Trial
from carsdepo_assets.policy import Policy
from carsdepo_assets.registry import ledger
from carsdepo_assets.registry.tracking import Tracking

WORKER = "carsdepo_assets.training.worker"  # of step 3: steps do not import each other


@dataclass(frozen=True)
class StudySite:
    """What a study works with."""

    context: dg.AssetExecutionContext
    lake: Lake
    policy: Policy
    compute: ComputeTarget
    tracking: Tracking
    storage: str
    """Address of Optuna's storage, which may hold a password."""
    home: Path


@dataclass(frozen=True)
class StudyOutcome:
    """What a study came to."""

    plan: StudyPlan
    lines: Sequence[str]
    """The plan in words."""
    ledger: Sequence[Trial]
    result: Conclusion
    page: str
    """Key of its page."""
    parent: str
    """Its run in MLflow."""


def place_of(compute: ComputeTarget, policy: Policy) -> TrialPlace:
    """Where trials would be trained, and for what price."""
    hardware = compute.hardware("train")
    return TrialPlace(
        name=f"{hardware.name} ({hardware.place})",
        device=hardware.device,
        slots=compute.slots("train"),
        per_hour=compute.price_per_hour("train", policy.compute),
    )


def carry_out(site: StudySite, report_id: str | None, now: datetime) -> StudyOutcome:
    """Makes or goes on with the study of the newest dataset; a study that is concluded is only told again.

    Raises:
        StudyError: no study can be made; nothing was trained.
    """
    lake, context = site.lake, site.context
    place = place_of(site.compute, site.policy)
    plan = make_plan(lake, site.policy, place, site.home, now, report_id=report_id)
    with one_writer(lake, f"study-{plan.study}"):
        plan = open_study(lake, plan, context.run.run_id)
        for line in described(plan):
            context.log.info(line)
        runs = StudyRuns(site.tracking, plan)
        standing = trials.conclusion(trials.events(lake, plan.study))
        if standing is None:
            _train(site, plan, runs)
        ledger_now = trials.trials(trials.events(lake, plan.study))
        result = conclude(plan, ledger_now, stop_reason(plan, ledger_now) or "")
        if standing is None:
            if report_id is not None:
                _hold(lake, plan, site.policy, context.run.run_id)
            record_conclusion(lake, plan, result, datetime.now(UTC), context.run.run_id)
        else:
            context.log.info(f"Study {plan.study} was concluded before: nothing is trained.")
        runs.concluded(result, ledger_now)  # a kill may have come between the ledger and MLflow
        pinned = trials.pin(trials.events(lake, plan.study))
        page = publish_study(lake, plan, ledger_now, result, datetime.now(UTC), over=True, pinned=pinned)
    (context.log.warning if result.winner is None else context.log.info)(result.text)
    return StudyOutcome(plan, described(plan), ledger_now, result, page, runs.parent)


def _train(site: StudySite, plan: StudyPlan, runs: StudyRuns) -> None:
    """Trains what is left of the study."""
    lake, context = site.lake, site.context

    def train(trial: Trial, terms: TrialTerms) -> Mapping[str, Any]:
        told: dict[str, Any] = {}
        if terms.result(lake) is None:
            spec = _spec(site, plan, trial, terms, runs.trial(trial))
            try:
                told = dict(site.compute.run(context, "train", spec, module=WORKER).metadata or {})
            except dg.Failure as failure:
                if terms.result(lake) is None:
                    raise TrialInterrupted(str(failure.description)) from failure
        result = terms.result(lake)
        if result is None:
            raise TrialInterrupted("The worker ended without a result.")
        where = {name: _plain(told[name]) for name in ("money", "place") if name in told}
        return result | where | {"mlflow_run_id": runs.trial(trial)}

    def ended(trial: Trial) -> None:
        runs.ended(trial)
        everything = trials.trials(trials.events(lake, plan.study))
        publish_study(lake, plan, everything, conclude(plan, everything), datetime.now(UTC), over=False)

    sampler = Sampler(plan, site.storage)
    run = StudyRun(lake, plan, sampler, train, context.log.info, ended, context.run.run_id)
    for trial in run.ledger():  # a kill may have come between the ledger and MLflow
        if trial.ended is not None:
            runs.ended(trial)
    run.run()


def _spec(site: StudySite, plan: StudyPlan, trial: Trial, terms: TrialTerms, mlflow_run: str) -> dict[str, Any]:
    """The spec of the training worker, which belongs to another step: see training.worker.TrainingSpec."""
    recipe = Recipe.model_validate(trial.asked.recipe)
    return {
        "lake": site.lake.url,
        "policy": site.policy.model_dump(mode="json"),
        "dagster_run_id": site.context.run.run_id,
        "dataset_version": plan.dataset,
        "recipe": recipe.model_dump(mode="json"),
        "initial_weights": keep_initial_weights(site.lake, recipe, site.home),
        "mlflow": {"experiment": site.tracking.experiment, "run_id": mlflow_run},
        "trial": terms.model_dump(mode="json"),
    }


def _hold(lake: Lake, plan: StudyPlan, policy: Policy, run_id: str) -> None:
    """Keeps the next promotion for a person: before the conclusion, so that no recipe of the study goes round it."""
    ledger.record(
        lake,
        "production",
        "hold",
        digest=None,
        version=None,
        actor=ledger.machine(policy.digest()),
        reason=f"Study {plan.study} was made after high drift (report {plan.report_id}): a person must approve what "
        "comes of it.",
        policy_digest=policy.digest(),
        dagster_run_id=run_id,
        event_id=f"hold-study-{plan.study}",
    )


def _plain(value: Any) -> Any:
    return getattr(value, "value", value)
