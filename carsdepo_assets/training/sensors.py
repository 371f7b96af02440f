"""The rule that retrains when labels are newer than the last trained model, and the one that settles dead runs."""

from __future__ import annotations

from datetime import UTC, datetime

import dagster as dg

from carsdepo_assets.compute.run_states import attempts, under_way
from carsdepo_assets.lake.label_state import LABEL_STATE_TAG
from carsdepo_assets.registry.resources import MlflowTracking
from carsdepo_assets.resources import LakeResource, PolicyResource

TRAIN_JOB = "train"
DRIFT_TAG = "carsdepo/drift_report"  # the report that asked for a training
train_job = dg.define_asset_job(
    TRAIN_JOB,
    selection=["dataset", "recipe", "candidate_model", "evaluation", "registered_model"],
    description="Labels to a judged, registered model: dataset, recipe, training, evaluation, registry.",
)


@dg.sensor(
    job=train_job,
    minimum_interval_seconds=10,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Compares the labels in the lake with those of the last trained model; state, not events, "
    "so labels and drift reports that come while a model trains are seen afterwards.",
)
def retrain(
    context: dg.SensorEvaluationContext, lake: LakeResource, policy: PolicyResource
) -> dg.RunRequest | dg.SkipReason:
    from carsdepo_assets.lake.label_state import label_state, newest_label, run_key, trained_at, trained_state
    from carsdepo_assets.training.retraining import Due, Situation, asked_by, due

    opened, rules = lake.open(), policy.read()
    labels, newest = label_state(opened), newest_label(opened)
    # What the drift router or a person started at this state counts as an attempt too; what a kill ended does not.
    tags = {LABEL_STATE_TAG: str(labels)}
    tried = attempts(context.instance, TRAIN_JOB, tags)
    asked = asked_by(opened, trained_at(opened))
    situation = Situation(
        labels=labels,
        trained=trained_state(opened),
        asked_by=asked,
        training=under_way(context.instance, TRAIN_JOB),
        ingesting=under_way(context.instance, "ingest_labels"),
        newest_label_s=(datetime.now(UTC) - newest).total_seconds() if newest else None,
        attempts=tried.counted(rules.runs.max_interruptions),
    )
    answer = due(situation, rules.training)
    if not isinstance(answer, Due):
        return dg.SkipReason(answer)
    return dg.RunRequest(
        run_key=run_key(labels, tried.runs + 1), tags=tags | ({DRIFT_TAG: asked} if asked is not None else {})
    )


@dg.sensor(
    minimum_interval_seconds=10,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Reports runs whose process died, frees the pool slots that they held, and gives each MLflow run its "
    "Dagster run's status.",
)
def settle_runs(context: dg.SensorEvaluationContext, tracking: MlflowTracking) -> dg.SkipReason:
    import psutil

    from carsdepo_assets.compute.orphans import settle_dead_runs

    # Sensors are evaluated by the code server, which is also what starts the processes of runs.
    settled = settle_dead_runs(context.instance, served_since=psutil.Process().create_time())
    in_mlflow = tracking.reconcile(context.instance)
    return dg.SkipReason(
        f"{len(settled.failed)} dead runs reported as failed, pool slots of {len(settled.freed)} runs freed, "
        f"{len(in_mlflow)} MLflow runs settled."
    )
