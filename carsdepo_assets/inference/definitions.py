"""The inference step in the graph: the predictions that the services captured."""

import dagster as dg

from carsdepo_assets.inference import assets, jobs, sensors
from carsdepo_assets.orchestration.catalogue import catalogued_assets

defs = dg.Definitions(
    assets=catalogued_assets("inference", assets),
    jobs=[jobs.ingest_inferences_job],
    sensors=[sensors.new_inferences],
)
