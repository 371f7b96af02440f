"""The sensors of step 3: `retrain` starts trainings on new labels, `settle_runs` reports runs whose process died."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import dagster as dg

from carsdepo_assets.alerts.resources import AlertsResource
from carsdepo_assets.lake.label_state import FALLBACK_TAG, LABEL_STATE_TAG
from carsdepo_assets.orchestration.attempts import Attempts, attempts_by
from carsdepo_assets.orchestration.run_states import under_way
from carsdepo_assets.orchestration.study_runs import study_to_wait_for
from carsdepo_assets.orchestration.ticks import work_was_done
from carsdepo_assets.registry.resources import MlflowTracking
from carsdepo_assets.resources import LakeResource, PolicyResource
from carsdepo_assets.training.jobs import TRAIN_JOB, train_job

DRIFT_TAG = "carsdepo/drift_report"  # the report that asked for a training


@dg.sensor(
    job=train_job,
    minimum_interval_seconds=10,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Starts a training when the lake holds labels that the last model which met the floor has not seen. It "
    "compares states, so that labels and drift reports that come during a training are taken up afterwards. After a "
    "model under the floor the policy's fallbacks are tried, each once for a state of the labels; then an alert asks a "
    "person.",
)
def retrain(
    context: dg.SensorEvaluationContext, lake: LakeResource, policy: PolicyResource, alerts: AlertsResource
) -> dg.RunRequest | dg.SensorResult | dg.SkipReason:
    """Requests the next training of the labels that are not learnt, or says why none is due."""
    from carsdepo_assets.lake.label_state import newest_label, run_key, trained_at
    from carsdepo_assets.lake.studies_due import studies_due
    from carsdepo_assets.registry.labels_learnt import label_coverage
    from carsdepo_assets.training import fallbacks
    from carsdepo_assets.training.retraining import (
        GivenUp,
        PersonAsked,
        asked_by,
        retraining_decision,
        retraining_inputs,
    )
    from carsdepo_assets.training.training_alerts import needs_person

    opened_lake, current_policy, weights = lake.open(), policy.read(), Path(lake.home, "weights")
    # Asked before the outcomes of trainings are read: the outcome of a run that has ended is stored by then.
    training = under_way(context.instance, TRAIN_JOB)
    newest, asked = newest_label(opened_lake), asked_by(opened_lake, trained_at(opened_lake))
    now = label_coverage(opened_lake, current_policy)
    tags = {LABEL_STATE_TAG: str(now.label_state)}
    facts: dict[str, object] = {
        "asked_by": asked,
        "training": training,
        "ingesting": under_way(context.instance, "ingest_labels"),
        "newest_label_s": (datetime.now(UTC) - newest).total_seconds() if newest else None,
    }
    # Runs that the drift router or a person started at this state count as attempts too; killed ones do not.
    runs = attempts_by(context.instance, TRAIN_JOB, tags, FALLBACK_TAG)

    def tried_runs(fallback: str | None) -> Attempts:
        return runs.get(fallback, Attempts(0, 0))

    work: list[str] = []  # what this tick changes besides requesting a run
    while True:
        impossible = partial(fallbacks.impossible, opened_lake, now, weights)
        counted = tried_runs(_fallback_of(now.next)).counted(current_policy.runs.max_interruptions)
        decision = retraining_decision(
            retraining_inputs(now, attempts=counted, **facts), current_policy.training, impossible
        )
        action = decision.action
        if not isinstance(action, GivenUp):
            break
        work.append(f"{action.fallback or 'The training'} is given up: {action.reason}")
        context.log.warning(work[-1])
        fallbacks.give_up(opened_lake, now, action)
        # The next decision is made on what is stored, so that a kill repeats nothing.
        before, now = now, label_coverage(opened_lake, current_policy)
        if now.label_state != before.label_state:
            return _no_training(context, work, "Newer labels came meanwhile: the next tick takes them up.")
    if isinstance(action, PersonAsked):
        if alerts.send(opened_lake, current_policy, **needs_person(now)):
            work.append("An alert asks a person.")
        return _no_training(context, work, now.message)
    if action is None:
        return _no_training(context, work, decision.message)
    due = studies_due(opened_lake, current_policy.study, datetime.now(UTC))
    study = study_to_wait_for(context.instance, due, current_policy.runs.max_interruptions)
    if study is not None:
        return _no_training(context, work, study)
    tags |= {DRIFT_TAG: asked} if asked is not None else {}
    config: dict[str, Any] = {}
    if action.fallback is not None:
        tags[FALLBACK_TAG] = action.fallback
        tried = {"fallback": action.fallback, "label_state": now.label_state}
        config = {"ops": {"recipe": {"config": tried}}}
    return dg.RunRequest(
        run_key=run_key(now.label_state, tried_runs(action.fallback).next_number, action.fallback),
        run_config=config,
        tags=tags,
    )


def _no_training(context: dg.SensorEvaluationContext, work: list[str], why: str) -> dg.SensorResult | dg.SkipReason:
    """The result of a tick that starts no training; it is skipped only where the tick changed nothing either."""
    return work_was_done(context, " ".join([*work, why])) if work else dg.SkipReason(why)


def _fallback_of(tried: str | None) -> str | None:
    """The fallback that LabelCoverage.next names; None for the usual recipe and where nothing is next."""
    from carsdepo_assets.lake.trainings import RECIPE_ITSELF

    return None if tried in (None, RECIPE_ITSELF) else tried


@dg.sensor(
    minimum_interval_seconds=10,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Reports runs whose process died, frees the pool slots that they held, and gives each MLflow run its "
    "Dagster run's status.",
)
def settle_runs(context: dg.SensorEvaluationContext, tracking: MlflowTracking) -> dg.SensorResult | dg.SkipReason:
    """Settles the runs whose process died, in Dagster and in MLflow."""
    import psutil

    from carsdepo_assets.orchestration.dead_runs import settle_dead_runs

    # Sensors are evaluated by the code server, which is also what starts the processes of runs.
    settled = settle_dead_runs(context.instance, served_since=psutil.Process().create_time())
    in_mlflow = tracking.reconcile(context.instance)
    if not (settled.failed or settled.freed or in_mlflow):
        return dg.SkipReason("No run is dead, no pool slot is held by one, and MLflow's runs have their status.")
    return work_was_done(
        context,
        f"{len(settled.failed)} dead runs reported as failed, pool slots of {len(settled.freed)} runs freed, "
        f"{len(in_mlflow)} MLflow runs settled.",
    )
