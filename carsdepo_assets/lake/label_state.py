"""The state of the labels: how many revisions there are, and how many of them a model has learnt.

Labels count as learnt once a model that was trained on them reached policy.evaluation.floor_map50. Trainings whose
model did not are in the table `trainings`.
"""

from __future__ import annotations

from datetime import datetime

import pyarrow.compute as pc

from carsdepo_assets.lake.annotations import labels_only
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.lake.pointers import LearntPointer

LABEL_STATE_TAG = "carsdepo/label_state"  # of a training's run: the label state that asked for it
FALLBACK_TAG = "carsdepo/fallback"  # of a training's run: the fallback that it tries; without it, the recipe itself


def label_state(lake: Lake) -> int:
    """Returns the number of label revisions that a dataset built now would see: those of processed photographs.

    It never becomes smaller, so it serves as the version of all labels together.
    """
    processed = lake.read("processed", columns=["image_id"])["image_id"].combine_chunks()
    labelled = labels_only(lake.read("annotations", columns=["image_id", "state"]))["image_id"]
    return int(pc.sum(pc.is_in(labelled, value_set=processed)).as_py() or 0)


def newest_label(lake: Lake) -> datetime | None:
    """Returns when the newest label revision was committed; None without labels."""
    column = labels_only(lake.read("annotations", columns=["created_at", "state"]))["created_at"]
    return pc.max(column).as_py()


def trained_state(lake: Lake) -> int:
    """Returns the label_state that the last model which met the floor had learnt; 0 before the first such model."""
    pointer = LearntPointer.read(lake)
    return 0 if pointer is None else pointer.label_state


def trained_at(lake: Lake) -> datetime | None:
    """Returns when the dataset of the last model that met the floor was built; None where that is unknown.

    A retraining that was asked for after this moment is not covered by that model, even if its training was still
    running then.
    """
    pointer = LearntPointer.read(lake)
    return None if pointer is None else pointer.seen_at


def run_key(state: int, attempt: int, fallback: str | None = None) -> str:
    """Returns the Dagster run key of one attempt to learn a state of the labels.

    Args:
        state: the label_state to learn.
        attempt: counts the runs of the same recipe at this state, from 1.
        fallback: name of the policy's fallback that changes the recipe; None: the usual recipe.
    """
    return f"labels:{state}:{attempt}" if fallback is None else f"labels:{state}:{fallback}:{attempt}"


def mark_trained(
    lake: Lake, *, digest: str, dataset: str, recipe: str, state: int, seen_at: datetime | None = None
) -> None:
    """Records in training/latest.json that a model met the floor: the labels that it was trained on are learnt.

    Args:
        lake: the lake.
        digest: of the model.
        dataset: version of the dataset that it was trained on.
        recipe: digest of its recipe.
        state: the label_state that the dataset's build had seen.
        seen_at: when that build looked at the labels.
    """
    LearntPointer(digest=digest, dataset=dataset, recipe=recipe, label_state=state, seen_at=seen_at).write(lake)
