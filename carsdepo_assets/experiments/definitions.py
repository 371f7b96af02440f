"""The experiments step in the graph: a look at the data, the studies that find a recipe, the recipe, what to label."""

import dagster as dg

from carsdepo_assets.experiments import (
    assets,
    exploration_assets,
    jobs,
    queue_assets,
    sensors,
    study_assets,
    study_jobs,
)
from carsdepo_assets.orchestration.catalogue import catalogued_assets

defs = dg.Definitions(
    assets=catalogued_assets("experiments", assets, exploration_assets, queue_assets, study_assets),
    jobs=[jobs.cut_queue_job, jobs.explore_job, study_jobs.study_job, study_jobs.pin_recipe],
    sensors=[sensors.study_after_drift],
)
