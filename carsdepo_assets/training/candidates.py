"""Which model is the candidate: training/candidate.json in the lake, written when its training is done."""

from __future__ import annotations

import json
from datetime import datetime

from pydantic import BaseModel, ConfigDict

from carsdepo_assets.detectors.base import Recipe
from carsdepo_assets.lake.datasets import LATEST as DATASET
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.lake.models import is_complete

RECIPE = "recipes/latest.json"
CANDIDATE = "training/candidate.json"


class NotReady(LookupError):
    """Something upstream has not been materialized; the message says what."""


class Plan(BaseModel):
    """What the next training works on. label_state: annotation revisions that the dataset's build had seen, `seen_at`.

    seen_at is None for datasets of a version that did not record it.
    """

    model_config = ConfigDict(frozen=True)

    dataset: str
    recipe: Recipe
    label_state: int
    seen_at: datetime | None = None


class Candidate(Plan):
    digest: str


def plan(lake: Lake) -> Plan:
    """The newest dataset and recipe. Raises NotReady naming the asset to materialize."""
    for key, asset in ((DATASET, "dataset"), (RECIPE, "recipe")):
        if not lake.exists(key):
            raise NotReady(f"{lake.url} has no {key}: materialize `{asset}` first.")
    dataset = json.loads(lake.get(DATASET))
    recipe = Recipe.model_validate_json(lake.get(f"recipes/{json.loads(lake.get(RECIPE))['digest']}.json"))
    return Plan(
        dataset=dataset["version"], recipe=recipe, label_state=dataset["label_state"], seen_at=dataset.get("at")
    )


def standing(lake: Lake, wanted: Plan) -> str | None:
    """The digest of the candidate when it was trained on just this dataset by just this recipe; else None.

    Newer labels that change nothing (the same boxes again) leave the candidate standing, at the newer label state.
    """
    if not lake.exists(CANDIDATE):
        return None
    last = current(lake)
    if (last.dataset, last.recipe) != (wanted.dataset, wanted.recipe) or not is_complete(lake, last.digest):
        return None
    if (last.label_state, last.seen_at) != (wanted.label_state, wanted.seen_at):
        write(lake, wanted, last.digest)
    return last.digest


def write(lake: Lake, done: Plan, digest: str) -> None:
    fields = done.model_dump() | {"digest": digest}
    lake.put(CANDIDATE, Candidate.model_validate(fields).model_dump_json(indent=1).encode())


def current(lake: Lake) -> Candidate:
    """Raises NotReady before the first training."""
    if not lake.exists(CANDIDATE):
        raise NotReady(f"{lake.url} has no candidate: materialize `candidate_model` first.")
    return Candidate.model_validate_json(lake.get(CANDIDATE))
