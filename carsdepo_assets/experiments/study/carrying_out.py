"""Carries a study out: plan, trials, MLflow, conclusion, page. Who calls it says how a trial's worker is run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

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


@dataclass(frozen=True)
class StudySite:
    """What a study works with."""

    lake: Lake
    policy: Policy
    place: TrialPlace
    tracking: Tracking
    storage: str
    """Address of Optuna's storage, which may hold a password."""
    home: Path
    start: Callable[[Mapping[str, Any]], Mapping[str, Any]]
    """Runs the training worker with a spec and returns what its place knows besides, `place` and `money` among it.

    Raises:
        TrialInterrupted: the worker did not end by itself.
    """
    say: Callable[[str], None]
    warn: Callable[[str], None]
    run_id: str
    """Of the run in Dagster."""


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


def carry_out(site: StudySite, report_id: str | None, now: datetime) -> StudyOutcome:
    """Makes or goes on with the study of the newest dataset; a study that is concluded is only told again.

    Raises:
        StudyError: no study can be made; nothing was trained.
    """
    lake = site.lake
    plan = make_plan(lake, site.policy, site.place, site.home, now, report_id=report_id)
    busy = f"Another run works on study {plan.study}: this one waits for it, and goes on where it ends."
    with one_writer(lake, f"study-{plan.study}", lambda: site.say(busy)):
        plan = open_study(lake, plan, site.run_id)
        for line in described(plan):
            site.say(line)
        runs = StudyRuns(site.tracking, plan)
        standing = trials.conclusion(trials.events(lake, plan.study))
        if standing is None:
            _train(site, plan, runs)
        ledger_now = trials.trials(trials.events(lake, plan.study))
        result = conclude(plan, ledger_now, stop_reason(plan, ledger_now) or "")
        if standing is None:
            if report_id is not None:
                _hold(lake, plan, site.policy, site.run_id)
            record_conclusion(lake, plan, result, datetime.now(UTC), site.run_id)
        else:
            site.say(f"Study {plan.study} was concluded before: nothing is trained.")
        runs.concluded(result, ledger_now)  # a kill may have come between the ledger and MLflow
        pinned = trials.pin(trials.events(lake, plan.study))
        page = publish_study(lake, plan, ledger_now, result, datetime.now(UTC), over=True, pinned=pinned)
    (site.warn if result.winner is None else site.say)(result.text)
    return StudyOutcome(plan, described(plan), ledger_now, result, page, runs.parent)


def _train(site: StudySite, plan: StudyPlan, runs: StudyRuns) -> None:
    """Trains what is left of the study."""
    lake = site.lake

    def train(trial: Trial, terms: TrialTerms) -> Mapping[str, Any]:
        told: dict[str, Any] = {}
        mlflow_run = runs.trial(trial)
        if terms.result(lake) is None:
            try:
                told = dict(site.start(_spec(site, plan, trial, terms, mlflow_run)))
            except TrialInterrupted:
                if terms.result(lake) is None:
                    raise
        result = terms.result(lake)
        if result is None:
            raise TrialInterrupted("The worker ended without a result.")
        return result | {n: told[n] for n in ("money", "place") if n in told} | {"mlflow_run_id": mlflow_run}

    def ended(trial: Trial, ledger: Sequence[Trial]) -> None:
        runs.ended(trial)
        publish_study(lake, plan, ledger, conclude(plan, ledger), datetime.now(UTC), over=False)

    run = StudyRun(lake, plan, Sampler(plan, site.storage), train, site.say, ended, site.run_id)
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
        "dagster_run_id": site.run_id,
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
