"""The rule that retrains when labels are newer than the last trained model, and the one that settles dead runs."""

from __future__ import annotations

from datetime import UTC, datetime

import dagster as dg

from carsdepo_assets.compute.run_states import under_way
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

    opened = lake.open()
    labels, newest = label_state(opened), newest_label(opened)
    # What the drift router or a person started at this state counts as an attempt too.
    tags = {LABEL_STATE_TAG: str(labels)}
    asked = asked_by(opened, trained_at(opened))
    situation = Situation(
        labels=labels,
        trained=trained_state(opened),
        asked_by=asked,
        training=under_way(context.instance, TRAIN_JOB),
        ingesting=under_way(context.instance, "ingest_labels"),
        newest_label_s=(datetime.now(UTC) - newest).total_seconds() if newest else None,
        attempts=context.instance.get_runs_count(dg.RunsFilter(job_name=TRAIN_JOB, tags=tags)),
    )
    answer = due(situation, policy.read().training)
    if not isinstance(answer, Due):
        return dg.SkipReason(answer)
    return dg.RunRequest(
        run_key=run_key(labels, answer.attempt), tags=tags | ({DRIFT_TAG: asked} if asked is not None else {})
    )


@dg.sensor(
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Reports runs whose process died, and gives each MLflow run its Dagster run's status.",
)
def settle_runs(context: dg.SensorEvaluationContext, tracking: MlflowTracking) -> dg.SkipReason:
    from carsdepo_assets.compute.orphans import fail_orphaned_runs

    failed = fail_orphaned_runs(context.instance)
    settled = tracking.reconcile(context.instance)
    return dg.SkipReason(f"{len(failed)} dead runs reported as failed, {len(settled)} MLflow runs settled.")
