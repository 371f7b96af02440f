"""The sensors that send alerts (of failed and waiting runs, releases, unhealthy services) and figures for alarms."""

import dagster as dg

from carsdepo_assets.alerts import sensors

defs = dg.Definitions(
    sensors=[
        sensors.failed_runs,
        sensors.release_news,
        sensors.service_health,
        sensors.waiting_runs,
        sensors.publish_figures,
    ],
)
