"""The release step in the graph: from a registered model to the one that production serves."""

import dagster as dg

from carsdepo_assets.orchestration.catalogue import catalogued_assets
from carsdepo_assets.release import assets, jobs, sensors

defs = dg.Definitions(
    assets=catalogued_assets("release", assets),
    jobs=[jobs.release_job, jobs.promote_job, jobs.approve_model, jobs.reject_model, jobs.rollback_production],
    sensors=[sensors.release_candidate, sensors.ledger_projection, sensors.endpoints_follow_ledger],
)
