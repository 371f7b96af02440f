"""The experiments step in the graph: the recipe of a training, and what to label next."""

import dagster as dg

from carsdepo_assets.experiments import assets, jobs, queue_assets
from carsdepo_assets.orchestration.catalogue import catalogued_assets

defs = dg.Definitions(
    assets=catalogued_assets("experiments", assets, queue_assets),
    jobs=[jobs.cut_queue_job],
)
