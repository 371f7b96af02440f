"""The rule that retrains when labels are newer than the last trained model, and the one that settles dead runs."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import dagster as dg

from carsdepo_assets.alerts.resources import AlertsResource
from carsdepo_assets.lake.label_state import FALLBACK_TAG, LABEL_STATE_TAG
from carsdepo_assets.orchestration.run_states import Attempts, attempts_by, under_way
from carsdepo_assets.registry.resources import MlflowTracking
from carsdepo_assets.resources import LakeResource, PolicyResource
from carsdepo_assets.training.jobs import TRAIN_JOB, train_job

DRIFT_TAG = "carsdepo/drift_report"  # the report that asked for a training


@dg.sensor(
    job=train_job,
    minimum_interval_seconds=10,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Compares the labels in the lake with those of the last model that met the floor; state, not events, "
    "so labels and drift reports that come while a model trains are seen afterwards. After a model under the floor the "
    "policy's fallbacks follow, each once for a state of the labels; then a person is asked.",
)
def retrain(
    context: dg.SensorEvaluationContext, lake: LakeResource, policy: PolicyResource, alerts: AlertsResource
) -> dg.RunRequest | dg.SkipReason:
    from carsdepo_assets.lake.label_state import newest_label, run_key, trained_at
    from carsdepo_assets.registry.labels_learnt import label_coverage
    from carsdepo_assets.training import fallbacks
    from carsdepo_assets.training.retraining import (
        GivenUp,
        PersonAsked,
        RetrainingDue,
        asked_by,
        retraining_decision,
        retraining_inputs,
    )
    from carsdepo_assets.training.training_alerts import needs_person

    opened, rules, weights = lake.open(), policy.read(), Path(lake.home, "weights")
    # Before what came of the trainings is read: of a run that has ended, the outcome is stored by then.
    training = under_way(context.instance, TRAIN_JOB)
    newest, asked = newest_label(opened), asked_by(opened, trained_at(opened))
    now = label_coverage(opened, rules)
    tags = {LABEL_STATE_TAG: str(now.label_state)}
    facts: dict[str, object] = {
        "asked_by": asked,
        "training": training,
        "ingesting": under_way(context.instance, "ingest_labels"),
        "newest_label_s": (datetime.now(UTC) - newest).total_seconds() if newest else None,
    }
    # What the drift router or a person started at this state counts as an attempt too; what a kill ended does not.
    runs = attempts_by(context.instance, TRAIN_JOB, tags, FALLBACK_TAG)

    def tried_runs(fallback: str | None) -> Attempts:
        return runs.get(fallback, Attempts(0, 0))

    while True:
        impossible = partial(fallbacks.impossible, opened, now, weights)
        counted = tried_runs(_fallback_of(now.next)).counted(rules.runs.max_interruptions)
        answer = retraining_decision(retraining_inputs(now, attempts=counted, **facts), rules.training, impossible)
        if not isinstance(answer, GivenUp):
            break
        context.log.warning(f"{answer.fallback or 'The training'}: {answer.reason}")
        fallbacks.give_up(opened, now, answer)
        before, now = now, label_coverage(opened, rules)  # decided on what is stored, so that a kill repeats nothing
        if now.label_state != before.label_state:
            return dg.SkipReason("Newer labels came: the next tick looks at them.")
    if isinstance(answer, PersonAsked):
        alerts.send(opened, rules, **needs_person(now))
        return dg.SkipReason(now.said)
    if not isinstance(answer, RetrainingDue):
        return dg.SkipReason(answer)
    tags |= {DRIFT_TAG: asked} if asked is not None else {}
    config: dict[str, Any] = {}
    if answer.fallback is not None:
        tags[FALLBACK_TAG] = answer.fallback
        tried = {"fallback": answer.fallback, "label_state": now.label_state}
        config = {"ops": {"recipe": {"config": tried}}}
    return dg.RunRequest(
        run_key=run_key(now.label_state, tried_runs(answer.fallback).runs + 1, answer.fallback),
        run_config=config,
        tags=tags,
    )


def _fallback_of(tried: str | None) -> str | None:
    """The fallback that a name of learning().next stands for; None for the usual recipe and where nothing is next."""
    from carsdepo_assets.lake.trainings import RECIPE_ITSELF

    return None if tried in (None, RECIPE_ITSELF) else tried


@dg.sensor(
    minimum_interval_seconds=10,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Reports runs whose process died, frees the pool slots that they held, and gives each MLflow run its "
    "Dagster run's status.",
)
def settle_runs(context: dg.SensorEvaluationContext, tracking: MlflowTracking) -> dg.SkipReason:
    import psutil

    from carsdepo_assets.orchestration.dead_runs import settle_dead_runs

    # Sensors are evaluated by the code server, which is also what starts the processes of runs.
    settled = settle_dead_runs(context.instance, served_since=psutil.Process().create_time())
    in_mlflow = tracking.reconcile(context.instance)
    return dg.SkipReason(
        f"{len(settled.failed)} dead runs reported as failed, pool slots of {len(settled.freed)} runs freed, "
        f"{len(in_mlflow)} MLflow runs settled."
    )
