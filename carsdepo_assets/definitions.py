"""The one place that assembles the graph."""

import dagster as dg

from carsdepo_assets.data import assets as data
from carsdepo_assets.data import sensors as data_sensors
from carsdepo_assets.environments import resources
from carsdepo_assets.experiments import assets as experiments
from carsdepo_assets.settings import Settings
from carsdepo_assets.training import assets as training
from carsdepo_assets.training import sensors as training_sensors


@dg.definitions
def defs() -> dg.Definitions:
    return dg.Definitions(
        assets=dg.load_assets_from_modules([data, experiments, training]),
        jobs=[data_sensors.ingest_uploads_job, data_sensors.ingest_labels_job, training_sensors.train_job],
        sensors=[
            data_sensors.new_uploads,
            data_sensors.new_labels,
            training_sensors.retrain,
            training_sensors.settle_runs,
        ],
        resources=resources(Settings.read()),
        # One process a run: an ingest run costs seconds, and training is a process of its own anyway.
        executor=dg.in_process_executor,
    )
