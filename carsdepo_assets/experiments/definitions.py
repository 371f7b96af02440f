"""The experiments step in the graph: the recipe of a training, the studies that find it, what to label."""

import dagster as dg

from carsdepo_assets.experiments import assets, jobs, queue_assets, sensors, study_assets, study_jobs
from carsdepo_assets.orchestration.catalogue import catalogued_assets

defs = dg.Definitions(
    assets=catalogued_assets("experiments", assets, queue_assets, study_assets),
    jobs=[jobs.cut_queue_job, study_jobs.study_job, study_jobs.pin_recipe],
    sensors=[sensors.study_after_drift],
)
