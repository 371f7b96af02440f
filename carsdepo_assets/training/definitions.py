"""The training step in the graph: from a dataset and a recipe to a registered model."""

import dagster as dg

from carsdepo_assets.orchestration.catalogue import catalogued_assets
from carsdepo_assets.training import assets, jobs, sensors

defs = dg.Definitions(
    assets=catalogued_assets("training", assets),
    jobs=[jobs.train_job],
    sensors=[sensors.retrain, sensors.settle_runs],
)
