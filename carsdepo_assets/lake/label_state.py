"""The state of the labels: how many revisions there are, and how many of them a model has learnt.

Labels count as learnt once a model that was trained on them reached policy.evaluation.floor_map50. Trainings whose
model did not are in the table `trainings`.
"""

from __future__ import annotations

from datetime import datetime

from carsdepo_assets.lake.annotations import are_labels
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.lake.pointers import LearntPointer

LABEL_STATE_TAG = "carsdepo/label_state"  # of a training's run: the label state that asked for it
# (versions of the two tables, what was counted at them) by lake: a tick without new labels does not count again.
_counted: dict[str, tuple[tuple[int, int], int]] = {}
FALLBACK_TAG = "carsdepo/fallback"  # of a training's run: the fallback that it tries; without it, the recipe itself


def label_state(lake: Lake) -> int:
    """Returns the number of label revisions that a dataset built now would see: those of processed photographs.

    It never becomes smaller, so it serves as the version of all labels together.
    """
    versions = lake.version("processed"), lake.version("annotations")
    counted = _counted.get(lake.url)
    if counted is None or counted[0] != versions:
        of_processed = "image_id IN (SELECT image_id FROM processed)"
        sql = f"SELECT count(*) AS n FROM annotations WHERE {are_labels(lake)} AND {of_processed}"
        rows = lake.tables.select(sql, ["annotations", "processed"])
        counted = _counted[lake.url] = (versions, 0 if rows is None else int(rows[0]["n"]))
    return counted[1]


def newest_label(lake: Lake) -> datetime | None:
    """Returns when the newest label revision was committed; None without labels."""
    sql = f"SELECT max(created_at) AS at FROM annotations WHERE {are_labels(lake)}"
    rows = lake.tables.select(sql, ["annotations"])
    return rows[0]["at"] if rows else None


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
