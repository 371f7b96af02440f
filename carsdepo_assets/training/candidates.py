"""Which model is the candidate: training/candidate.json in the lake, written when its training is done."""

from __future__ import annotations

import json
from datetime import datetime

from pydantic import BaseModel, ConfigDict

from carsdepo_assets.detectors.base import Recipe
from carsdepo_assets.detectors.recipe_changes import read_recipe
from carsdepo_assets.lake.datasets import LATEST as DATASET
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.lake.models import is_complete
from carsdepo_assets.lake.trainings import AskedBy, trained_before

RECIPE = "recipes/latest.json"
CANDIDATE = "training/candidate.json"


class NotReady(LookupError):
    """Something upstream has not been materialized; the message says what."""


class Plan(BaseModel):
    """What the next training works on. label_state: annotation revisions that the dataset's build had seen, `seen_at`.

    seen_at is None for datasets of a version that did not record it. why: of the recipe, in sentences. fallback: the
    policy's fallback that made the recipe; None: the recipe itself. asked_by: who asked for the recipe.
    """

    model_config = ConfigDict(frozen=True)

    dataset: str
    recipe: Recipe
    label_state: int
    seen_at: datetime | None = None
    why: tuple[str, ...] = ()
    fallback: str | None = None
    asked_by: AskedBy = "person"


class Candidate(Plan):
    digest: str


def plan(lake: Lake) -> Plan:
    """The newest dataset and recipe. Raises NotReady naming the asset to materialize."""
    for key, asset in ((DATASET, "dataset"), (RECIPE, "recipe")):
        if not lake.exists(key):
            raise NotReady(f"{lake.url} has no {key}: materialize `{asset}` first.")
    dataset, pointer = json.loads(lake.get(DATASET)), json.loads(lake.get(RECIPE))
    return Plan(
        dataset=dataset["version"],
        recipe=read_recipe(lake, pointer["digest"]),
        label_state=dataset["label_state"],
        seen_at=dataset.get("at"),
        why=tuple(pointer.get("why", ())),
        fallback=pointer.get("fallback"),
        asked_by=pointer.get("asked_by", "person"),
    )


def standing(lake: Lake, wanted: Plan) -> str | None:
    """The digest of a model that was trained on just this dataset by just this recipe; None where there is none.

    It becomes the candidate for what is wanted now: newer labels that change nothing (the same boxes again) leave it
    standing, at the newer label state.
    """
    last = current(lake) if lake.exists(CANDIDATE) else None
    same = [last.digest] if last and (last.dataset, last.recipe) == (wanted.dataset, wanted.recipe) else []
    for digest in [*same, *trained_before(lake, wanted.dataset, wanted.recipe.digest())]:
        if is_complete(lake, digest):
            if last is None or last.digest != digest or Plan.model_validate(last.model_dump()) != wanted:
                write(lake, wanted, digest)
            return digest
    return None


def write(lake: Lake, done: Plan, digest: str) -> None:
    fields = done.model_dump() | {"digest": digest}
    lake.put(CANDIDATE, Candidate.model_validate(fields).model_dump_json(indent=1).encode())


def current(lake: Lake) -> Candidate:
    """Raises NotReady before the first training."""
    if not lake.exists(CANDIDATE):
        raise NotReady(f"{lake.url} has no candidate: materialize `candidate_model` first.")
    return Candidate.model_validate_json(lake.get(CANDIDATE))
