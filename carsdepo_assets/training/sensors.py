"""The rule that retrains when labels are newer than the last trained model, and the one that settles dead runs."""

from __future__ import annotations

from datetime import UTC, datetime

import dagster as dg

from carsdepo_assets.registry.resources import MlflowTracking
from carsdepo_assets.resources import LakeResource, PolicyResource

TRAIN_JOB = "train"
LABEL_STATE_TAG = "carsdepo/label_state"
train_job = dg.define_asset_job(
    TRAIN_JOB,
    selection=["dataset", "recipe", "candidate_model", "evaluation", "registered_model"],
    description="Labels to a judged, registered model: dataset, recipe, training, evaluation, registry.",
)
_ACTIVE = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]


@dg.sensor(
    job=train_job,
    minimum_interval_seconds=10,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Compares the labels in the lake with those of the last trained model; state, not events, "
    "so labels that arrive while a model trains are seen afterwards.",
)
def retrain(
    context: dg.SensorEvaluationContext, lake: LakeResource, policy: PolicyResource
) -> dg.RunRequest | dg.SkipReason:
    from carsdepo_assets.lake.label_state import label_state, newest_label, trained_state

    rules = policy.read().training
    opened = lake.open()
    now, trained = label_state(opened), trained_state(opened)
    if now - trained < rules.min_new_labels:
        return dg.SkipReason(f"{now} label revisions in the lake, {trained} when the last model was trained.")
    if context.instance.get_runs(dg.RunsFilter(job_name=TRAIN_JOB, statuses=_ACTIVE), limit=1):
        return dg.SkipReason("A training is under way; the newer labels wait for it.")
    if context.instance.get_runs(dg.RunsFilter(job_name="ingest_labels", statuses=_ACTIVE), limit=1):
        return dg.SkipReason("Labels are being ingested.")
    newest = newest_label(opened)
    if newest and (datetime.now(UTC) - newest).total_seconds() < rules.debounce_s:
        return dg.SkipReason(f"The newest label is under {rules.debounce_s:g} s old: more may follow.")
    tags = {LABEL_STATE_TAG: str(now)}
    attempt = context.instance.get_runs_count(dg.RunsFilter(job_name=TRAIN_JOB, tags=tags)) + 1
    if attempt > rules.max_attempts:
        return dg.SkipReason(
            f"{attempt - 1} trainings at label state {now} did not finish: see their runs; "
            "new labels or a manual run of `train` start the next."
        )
    return dg.RunRequest(run_key=f"labels:{now}:{attempt}", tags=tags)


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
