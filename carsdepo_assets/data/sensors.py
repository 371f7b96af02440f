"""Sensors that close batches of the files that arrived in raw/, and start a run for each batch."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import islice
from typing import TYPE_CHECKING

import dagster as dg
from dagster._core.storage.tags import PARTITION_NAME_TAG

from carsdepo_assets.data.jobs import ingest_labels_job, ingest_uploads_job
from carsdepo_assets.orchestration.attempts import next_run, next_runs, numbered_key
from carsdepo_assets.orchestration.partitions import label_batches, upload_batches
from carsdepo_assets.resources import LakeResource, PolicyResource

if TYPE_CHECKING:
    from carsdepo_assets.data.batches.batches import Kind
    from carsdepo_assets.lake.lake import Lake
    from carsdepo_assets.policy import Policy

# A tick stays far under its 60 s: a RunRequest costs about 0.4 s.
REQUESTS_A_TICK = 20


def _tick(
    context: dg.SensorEvaluationContext,
    kind: Kind,
    partitions: dg.DynamicPartitionsDefinition,
    lake: LakeResource,
    policy: PolicyResource,
) -> dg.SensorResult | dg.SkipReason:
    from carsdepo_assets.data.batches.batches import S3Events, event_account, plan_batches

    opened_lake, current_policy = lake.open(), policy.read()
    queue = {"uploads": lake.uploads_queue, "labels": lake.labels_queue}[kind]
    plan_batches(opened_lake, kind, current_policy, datetime.now(UTC), events=S3Events(queue, lake.inventory))
    of_events = "" if queue is None else event_account(opened_lake, kind).sentence()
    requests = requests_due(context.instance, opened_lake, kind, current_policy)
    if not requests:
        return dg.SkipReason(f"Nothing new in {opened_lake.url}/raw/{kind} that is due. {of_events}".strip())
    if of_events:
        context.log.warning(of_events)
    batches = [str(request.partition_key) for request in requests]
    return dg.SensorResult(run_requests=requests, dynamic_partitions_requests=[partitions.build_add_request(batches)])


def requests_due(instance: dg.DagsterInstance, lake: Lake, kind: Kind, policy: Policy) -> list[dg.RunRequest]:
    """Requests a run for each batch that is not ingested and has no run yet; see orchestration.attempts.next_runs.

    The lake says which batches are not ingested to their end. Whether they have a run is decided by the runs and not by
    the partitions, as Dagster's daemon adds a tick's partitions before it writes down the runs that the tick asks for.

    Args:
        instance: whose runs are looked at.
        lake: whose batches are looked at.
        kind: uploads or labels.
        policy: the section `runs` is used.

    Returns:
        The requests, for the oldest batch first; REQUESTS_A_TICK at most.
    """
    from carsdepo_assets.data.batches.batches import open_batches

    waiting = next_runs(
        instance, f"ingest_{kind}", PARTITION_NAME_TAG, open_batches(lake, kind), policy.runs.max_interruptions
    )
    return [
        dg.RunRequest(run_key=numbered_key(f"{kind}:{batch}", number), partition_key=batch)
        for batch, number in islice(waiting, REQUESTS_A_TICK)
    ]


@dg.sensor(
    job=ingest_uploads_job,
    minimum_interval_seconds=10,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Closes batches of the photographs that were dropped into raw/uploads, and starts a run for each.",
)
def new_uploads(
    context: dg.SensorEvaluationContext, lake: LakeResource, policy: PolicyResource
) -> dg.SensorResult | dg.SkipReason:
    """Closes upload batches and requests their runs."""
    return _tick(context, "uploads", upload_batches, lake, policy)


@dg.sensor(
    job=ingest_labels_job,
    minimum_interval_seconds=10,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Closes batches of the label files that were dropped into raw/labels, once their photographs are "
    "ingested, and starts a run for each.",
)
def new_labels(
    context: dg.SensorEvaluationContext, lake: LakeResource, policy: PolicyResource
) -> dg.SensorResult | dg.SkipReason:
    """Closes label batches and requests their runs."""
    return _tick(context, "labels", label_batches, lake, policy)


@dg.sensor(
    job_name="correct_metadata",  # the job itself would make Dagster warn of its own beta parameter
    minimum_interval_seconds=60,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Starts a run when a manifest.csv in raw/uploads came or changed, so that it counts for the "
    "photographs that are in the lake already.",
)
def new_metadata(
    context: dg.SensorEvaluationContext, lake: LakeResource, policy: PolicyResource
) -> dg.RunRequest | dg.SkipReason:
    """Requests the run that reads corrected metadata."""
    from carsdepo_assets.data.photographs.metadata_corrections import fingerprint_of, manifests_due

    current_policy, now = policy.read(), datetime.now(UTC)
    # A file from the future, by a clock ahead of ours, does not count as young.
    due = [
        file
        for file in manifests_due(lake.open(), is_told=lake.uploads_queue is not None)
        if not 0 <= (now - file.modified_at).total_seconds() < current_policy.data.batch_max_age_s
    ]
    if not due:
        return dg.SkipReason("No manifest.csv that is due came or changed.")
    tags = {"carsdepo/metadata": fingerprint_of(due)}
    number = next_run(context.instance, "correct_metadata", tags, current_policy.runs.max_interruptions)
    if number is None:
        return dg.SkipReason(f"The run for {len(due)} new or changed manifest.csv was requested.")
    return dg.RunRequest(run_key=numbered_key(f"metadata:{tags['carsdepo/metadata']}", number), tags=tags)
