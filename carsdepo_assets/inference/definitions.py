"""The inference step in the graph: the predictions that the services captured."""

import dagster as dg

from carsdepo_assets.inference import assets, jobs, sensors

defs = dg.Definitions(
    assets=dg.load_assets_from_modules([assets]),
    jobs=[jobs.ingest_inferences_job],
    sensors=[sensors.new_inferences],
)
