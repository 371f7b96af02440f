"""The asset of the inference step: what the services answered, as a table of the lake."""

import hashlib
from datetime import date
from typing import Any

import dagster as dg

from carsdepo_assets.orchestration.partitions import answer_days
from carsdepo_assets.orchestration.ui_metadata import metadata_table, stored_table
from carsdepo_assets.resources import LakeResource


@dg.asset(group_name="inference", partitions_def=answer_days, kinds={"deltalake"})
def inference_log(context: dg.AssetExecutionContext, lake: LakeResource) -> dg.MaterializeResult:
    """Every answer of the services on one day (UTC): photograph, features, boxes, decision, model and latency.

    The services write their answers to capture segments; a run ingests those of its day that are closed, each once.
    """
    from carsdepo_assets.inference.ingest import ingest, summary, waiting

    day, opened_lake = date.fromisoformat(context.partition_key), lake.open()
    ingested = ingest(opened_lake, waiting(opened_lake, [day]))
    summary_of_day = summary(opened_lake, day)
    metadata: dict[str, Any] = {
        **stored_table(lake.url, "inferences"),
        "dagster/partition_row_count": summary_of_day.answers,
        "new_answers": ingested.answers,
        "ingested_segments": ingested.segments,
        "quarantined_lines": ingested.quarantined,
        "answers_by_decision": dg.MetadataValue.json(summary_of_day.decisions),
        "answers_by_stage": dg.MetadataValue.json(summary_of_day.stages),
    }
    if summary_of_day.answers:
        metadata |= {
            "latency_p50_ms": summary_of_day.p50,
            "latency_p95_ms": summary_of_day.p95,
            "latency_p99_ms": summary_of_day.p99,
            "models": metadata_table(summary_of_day.models),
            "newest_answers": metadata_table(summary_of_day.latest),
        }
    state = f"{day}:{summary_of_day.answers}:{summary_of_day.segments}"
    version = hashlib.sha256(state.encode()).hexdigest()[:16]
    return dg.MaterializeResult(data_version=dg.DataVersion(version), metadata=metadata)
