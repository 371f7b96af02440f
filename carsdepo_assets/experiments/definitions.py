"""The experiments step in the graph: the recipe of a training, and what to label next."""

import dagster as dg

from carsdepo_assets.experiments import assets, jobs, queue_assets

defs = dg.Definitions(
    assets=dg.load_assets_from_modules([assets, queue_assets]),
    jobs=[jobs.cut_queue_job],
)
