"""Jobs of the inference step."""

import dagster as dg

INGEST_JOB = "ingest_inferences"
ingest_inferences_job = dg.define_asset_job(
    INGEST_JOB,
    selection=["inference_log"],
    description="One day of the services' answers, from their capture segments into `inferences`.",
)
