"""Jobs of the training step: the sensor `retrain`, a person and `carsdepo train` start them."""

import dagster as dg

TRAIN_JOB = "train"
train_job = dg.define_asset_job(
    TRAIN_JOB,
    selection=["dataset", "recipe", "candidate_model", "evaluation", "registered_model"],
    description="From labels to an evaluated, registered model: dataset, recipe, training, evaluation, registry.",
)
