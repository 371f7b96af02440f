"""How many label revisions there are, and how many the last judged model had seen, and when."""

from __future__ import annotations

import json
from datetime import datetime

import pyarrow.compute as pc

from carsdepo_assets.lake.lake import Lake

TRAINED = "training/latest.json"
LABEL_STATE_TAG = "carsdepo/label_state"  # of a training's run: the label state that asked for it


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
    """label_state at the dataset of the last model that was judged; 0 before the first."""
    return int(json.loads(lake.get(TRAINED))["label_state"]) if lake.exists(TRAINED) else 0


def trained_at(lake: Lake) -> datetime | None:
    """When the last judged model's dataset looked at the labels, which is before its training; None: not known.

    What is asked for later, a training under way does not answer.
    """
    said = json.loads(lake.get(TRAINED)).get("seen_at") if lake.exists(TRAINED) else None
    return datetime.fromisoformat(said) if said else None


def run_key(state: int, attempt: int) -> str:
    """Of the attempt-th training (from 1) at a label state, whoever asks for it."""
    return f"labels:{state}:{attempt}"


def mark_trained(
    lake: Lake, *, digest: str, dataset: str, recipe: str, state: int, seen_at: datetime | None = None
) -> None:
    """Points training/latest.json at the judged model. seen_at: see trained_at."""
    said = {
        "digest": digest,
        "dataset": dataset,
        "recipe": recipe,
        "label_state": state,
        "seen_at": seen_at.isoformat() if seen_at else None,
    }
    lake.put(TRAINED, json.dumps(said).encode())
