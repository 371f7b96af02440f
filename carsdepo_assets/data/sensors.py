"""Sensors that close batches of what arrived in raw/ and start their runs."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import dagster as dg
from dagster._core.storage.tags import PARTITION_NAME_TAG

from carsdepo_assets.compute.run_states import next_run
from carsdepo_assets.data.partitions import label_batches, upload_batches
from carsdepo_assets.resources import LakeResource, PolicyResource

if TYPE_CHECKING:
    from carsdepo_assets.data.batches import Kind

# A run whose process died is reported as failed by settle_runs; the retry finishes its batch.
_RETRIED = {"dagster/max_retries": "2"}
ingest_uploads_job = dg.define_asset_job(
    "ingest_uploads",
    selection=["uploads", "images", "processed_images"],
    tags=_RETRIED,
    description="One upload batch: manifest, distinct photographs, processed images.",
)
ingest_labels_job = dg.define_asset_job(
    "ingest_labels",
    selection=["labels"],
    tags=_RETRIED,
    description="One label batch: annotation revisions.",
)
_LAST_ASSET = {"uploads": "processed_images", "labels": "labels"}  # materialized: the batch is ingested
# A tick stays far under its 60 s: a RunRequest costs about 0.4 s.
REQUESTS_A_TICK = 20


def _tick(
    context: dg.SensorEvaluationContext,
    kind: Kind,
    partitions: dg.DynamicPartitionsDefinition,
    lake: LakeResource,
    policy: PolicyResource,
) -> dg.SensorResult | dg.SkipReason:
    from carsdepo_assets.data.batches import list_batches, plan_batches

    opened, rules, instance = lake.open(), policy.read(), context.instance
    plan_batches(opened, kind, rules, datetime.now(UTC))
    # From the manifests, not from this tick's plan: a batch whose manifest was written before a kill is found again.
    # From the runs, not from the partitions: Dagster adds a partition before the run that the same tick asks for.
    ingested = instance.get_materialized_partitions(dg.AssetKey(_LAST_ASSET[kind]))
    numbered = (
        (batch, next_run(instance, f"ingest_{kind}", {PARTITION_NAME_TAG: batch}, rules.runs.max_interruptions))
        for batch in list_batches(opened, kind)
        if batch not in ingested
    )
    waiting = {batch: number for batch, number in numbered if number is not None}
    if not waiting:
        return dg.SkipReason(f"Nothing new in {opened.url}/raw/{kind} that is due.")
    chosen = dict(list(waiting.items())[:REQUESTS_A_TICK])
    return dg.SensorResult(
        run_requests=[
            dg.RunRequest(run_key=f"{kind}:{batch}" if number == 1 else f"{kind}:{batch}:{number}", partition_key=batch)
            for batch, number in chosen.items()
        ],
        dynamic_partitions_requests=[partitions.build_add_request(list(chosen))],
    )


@dg.sensor(
    job=ingest_uploads_job,
    minimum_interval_seconds=10,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Photographs dropped into raw/uploads become batches and runs.",
)
def new_uploads(
    context: dg.SensorEvaluationContext, lake: LakeResource, policy: PolicyResource
) -> dg.SensorResult | dg.SkipReason:
    return _tick(context, "uploads", upload_batches, lake, policy)


@dg.sensor(
    job=ingest_labels_job,
    minimum_interval_seconds=10,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Label files dropped into raw/labels become batches and runs, once their photographs are in.",
)
def new_labels(
    context: dg.SensorEvaluationContext, lake: LakeResource, policy: PolicyResource
) -> dg.SensorResult | dg.SkipReason:
    return _tick(context, "labels", label_batches, lake, policy)
