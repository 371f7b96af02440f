"""The sensor of step 1: the study that follows high drift, once the queue of the report is labelled."""

from __future__ import annotations

from datetime import UTC, datetime

import dagster as dg

from carsdepo_assets.orchestration.report_runs import runs_of_reports
from carsdepo_assets.orchestration.run_states import under_way
from carsdepo_assets.orchestration.study_runs import STUDY_JOB, STUDY_TAG
from carsdepo_assets.resources import LakeResource, PolicyResource


@dg.sensor(
    job_name=STUDY_JOB,
    minimum_interval_seconds=15,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Asks for the study of each drift report whose route says so, when enough of its labelling queue is "
    "labelled (policy.study.labelled_share); after a run that was killed, for another one.",
)
def study_after_drift(
    context: dg.SensorEvaluationContext, lake: LakeResource, policy: PolicyResource
) -> dg.RunRequest | dg.SkipReason:
    """Requests the study of the oldest drift report whose labels are there."""
    from carsdepo_assets.lake.label_state import newest_label
    from carsdepo_assets.lake.studies_due import studies_due

    opened_lake, current_policy = lake.open(), policy.read()
    due = studies_due(opened_lake, current_policy.study, datetime.now(UTC))
    if not due:
        return dg.SkipReason("No drift report waits for a study whose labels are there.")
    if under_way(context.instance, STUDY_JOB):
        return dg.SkipReason("A study is under way.")
    if under_way(context.instance, "ingest_labels"):
        return dg.SkipReason("Labels are being ingested.")
    newest = newest_label(opened_lake)
    debounce_s = current_policy.training.debounce_s
    if newest is not None and (datetime.now(UTC) - newest).total_seconds() < debounce_s:
        return dg.SkipReason(f"The newest label is under {debounce_s:g} s old: more may follow.")
    runs = runs_of_reports(
        context.instance,
        STUDY_JOB,
        STUDY_TAG,
        work="study",
        asset="trials",
        report_ids=due,
        max_interruptions=current_policy.runs.max_interruptions,
    )
    if (request := next(runs, None)) is not None:
        return request
    return dg.SkipReason(f"The study of drift report {due[0]} failed: see its run, and start `study` by hand.")
