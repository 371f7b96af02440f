"""The monitoring step in the graph: profiles, drift, what follows from it, and live quality."""

import dagster as dg

from carsdepo_assets.monitoring import assets, jobs, sensors
from carsdepo_assets.orchestration.catalogue import catalogued_assets

defs = dg.Definitions(
    assets=catalogued_assets("monitoring", assets),
    jobs=[jobs.drift_job, jobs.route_job, jobs.profile_job, jobs.quality_job],
    sensors=[sensors.measure_drift, sensors.drift_router, sensors.cut_drift_queues, sensors.measure_quality],
)
