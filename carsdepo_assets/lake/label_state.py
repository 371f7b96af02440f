"""How many label revisions there are, and how many the last model that met the floor had seen, and when.

A model under policy.evaluation.floor_map50 has learnt nothing: what came of it is in the table `trainings`.
"""

from __future__ import annotations

from datetime import datetime

import pyarrow.compute as pc

from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.lake.pointers import LearntPointer

LABEL_STATE_TAG = "carsdepo/label_state"  # of a training's run: the label state that asked for it
FALLBACK_TAG = "carsdepo/fallback"  # of a training's run: the fallback that it tries; without it, the recipe itself


def label_state(lake: Lake) -> int:
    """Number of annotation revisions of processed photographs: what a dataset built now would see. Never shrinks."""
    processed = lake.read("processed", columns=["image_id"])["image_id"].combine_chunks()
    labelled = lake.read("annotations", columns=["image_id"])["image_id"]
    return int(pc.sum(pc.is_in(labelled, value_set=processed)).as_py() or 0)


def newest_label(lake: Lake) -> datetime | None:
    """When the newest revision was committed; None without labels."""
    column = lake.read("annotations", columns=["created_at"])["created_at"]
    return pc.max(column).as_py()


def trained_state(lake: Lake) -> int:
    """label_state at the dataset of the last model that met the floor; 0 before the first."""
    pointer = LearntPointer.read(lake)
    return 0 if pointer is None else pointer.label_state


def trained_at(lake: Lake) -> datetime | None:
    """When the dataset of the last model that met the floor looked at the labels, before its training; None: unknown.

    What is asked for later, a training under way does not answer.
    """
    pointer = LearntPointer.read(lake)
    return None if pointer is None else pointer.seen_at


def run_key(state: int, attempt: int, fallback: str | None = None) -> str:
    """Of the attempt-th run (from 1) of a recipe, the usual one or a fallback's, at a label state."""
    return f"labels:{state}:{attempt}" if fallback is None else f"labels:{state}:{fallback}:{attempt}"


def mark_trained(
    lake: Lake, *, digest: str, dataset: str, recipe: str, state: int, seen_at: datetime | None = None
) -> None:
    """Points training/latest.json at a model that met the floor: its labels are learnt. seen_at: see trained_at."""
    LearntPointer(digest=digest, dataset=dataset, recipe=recipe, label_state=state, seen_at=seen_at).write(lake)
