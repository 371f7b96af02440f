"""The data step in the graph: from uploads and label files to a dataset."""

import dagster as dg

from carsdepo_assets.data import assets, jobs, sensors
from carsdepo_assets.orchestration.catalogue import catalogued_assets

defs = dg.Definitions(
    assets=catalogued_assets("data", assets),
    jobs=[
        jobs.ingest_uploads_job,
        jobs.ingest_labels_job,
        jobs.correct_metadata_job,
        jobs.dataset_job,
        jobs.extend_golden_job,
        jobs.maintenance_job,
    ],
    schedules=[jobs.maintain],
    sensors=[sensors.new_uploads, sensors.new_labels, sensors.new_metadata],
)
