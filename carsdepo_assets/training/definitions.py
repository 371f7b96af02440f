"""The training step in the graph: from a dataset and a recipe to a registered model."""

import dagster as dg

from carsdepo_assets.training import assets, jobs, sensors

defs = dg.Definitions(
    assets=dg.load_assets_from_modules([assets]),
    jobs=[jobs.train_job],
    sensors=[sensors.retrain, sensors.settle_runs],
)
