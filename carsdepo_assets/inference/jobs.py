"""The job of the inference step, which the sensor `new_inferences` starts for a day."""

import dagster as dg

INGEST_JOB = "ingest_inferences"
ingest_inferences_job = dg.define_asset_job(
    INGEST_JOB,
    selection=["inference_log"],
    description="Ingests one day of the services' answers from their capture segments into the table `inferences`.",
)
