"""A dataset that no training can use: recorded, so that the same labels start no second training in vain."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from carsdepo_assets.detectors.training_set import EmptyTrainingSet
from carsdepo_assets.lake.datasets import DatasetErased
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.lake.trainings import record_outcome
from carsdepo_assets.training.candidates import Plan


@contextmanager
def refused(lake: Lake, plan: Plan) -> Iterator[None]:
    """Gives a training up where the block finds that its dataset has too little, or lost photographs.

    The sensor `retrain` then asks a person and does not try again what no further attempt can change, until there are
    newer labels. A manifest that is missing is another matter, since the next run builds it again. What a person asked
    for is not recorded: they read the error.

    Args:
        lake: the lake.
        plan: of the training.

    Raises:
        EmptyTrainingSet: as the block raised it.
        DatasetErased: as the block raised it.
    """
    try:
        yield
    except (EmptyTrainingSet, DatasetErased) as error:
        if plan.asked_by == "retrain":
            reason = f"{error} Newer labels start the next training by themselves; else start `train` by hand."
            record_outcome(lake, plan.ended("did_not_finish", reason))
        raise
