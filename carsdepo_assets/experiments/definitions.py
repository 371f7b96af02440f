"""The experiments step in the graph: a look at the data, the recipe of a training, and what to label next."""

import dagster as dg

from carsdepo_assets.experiments import assets, exploration_assets, jobs, queue_assets
from carsdepo_assets.orchestration.catalogue import catalogued_assets

defs = dg.Definitions(
    assets=catalogued_assets("experiments", assets, exploration_assets, queue_assets),
    jobs=[jobs.cut_queue_job, jobs.explore_job],
)
