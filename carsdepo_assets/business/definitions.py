"""The business step in the graph: the business's own tables and the KPIs."""

import dagster as dg

from carsdepo_assets.business import assets, jobs, sensors
from carsdepo_assets.orchestration.catalogue import catalogued_assets

defs = dg.Definitions(
    assets=catalogued_assets("business", assets),
    jobs=[jobs.business_job, jobs.kpi_job],
    sensors=[sensors.new_business_files],
    schedules=[jobs.kpis_every_morning],
)
