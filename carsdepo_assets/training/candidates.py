"""What the next training works on, and which model is the candidate.

Plans come from the pointers to the newest dataset and recipe. When a training is done, its model is recorded in the
table `candidates`, and training/candidate.json names it.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from carsdepo_assets.detectors.base import Recipe
from carsdepo_assets.detectors.recipe_changes import read_recipe
from carsdepo_assets.lake.candidates import CandidateRecord, record_candidate
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.lake.models import is_complete, read_result
from carsdepo_assets.lake.pointers import CandidatePointer, DatasetPointer, RecipePointer
from carsdepo_assets.lake.trainings import AskedBy, Ending, Outcome, trained_before


class NotReady(LookupError):
    """Something upstream has not been materialized; the message says what."""


class Plan(BaseModel):
    """What the next training works on."""

    model_config = ConfigDict(frozen=True)

    dataset: str = Field(description="version of the dataset to train on")
    recipe: Recipe
    label_state: int = Field(description="annotation revisions that the dataset's build had seen")
    seen_at: datetime | None = Field(None, description="when that build looked at the labels; None in lakes of before")
    why: tuple[str, ...] = Field((), description="why this recipe, in whole sentences")
    fallback: str | None = Field(None, description="the policy's fallback that made the recipe; None: the usual recipe")
    asked_by: AskedBy = Field("person", description="who asked for the recipe")

    def ended(self, outcome: Ending, reason: str, **figures: Any) -> Outcome:
        """The row of the table `trainings` for its end, now.

        Args:
            outcome: how it ended.
            reason: why, in whole sentences.
            figures: what else the row has, by the fields of Outcome.
        """
        return Outcome(
            label_state=self.label_state,
            at=datetime.now(UTC),
            asked_by=self.asked_by,
            fallback=self.fallback,
            outcome=outcome,
            dataset=self.dataset,
            recipe=self.recipe.digest(),
            reason=reason,
            **figures,
        )


class Candidate(Plan):
    """A plan and the model that its training made."""

    digest: str


def plan(lake: Lake) -> Plan:
    """The newest dataset and recipe.

    Raises:
        NotReady: one of them is not there yet; the message names the asset to materialize.
    """
    dataset, chosen = DatasetPointer.read(lake), RecipePointer.read(lake)
    if dataset is None:
        raise NotReady(f"{lake.url} has no {DatasetPointer.KEY}: materialize `dataset` first.")
    if chosen is None:
        raise NotReady(f"{lake.url} has no {RecipePointer.KEY}: materialize `recipe` first.")
    return Plan(
        dataset=dataset.version,
        recipe=read_recipe(lake, chosen.digest),
        label_state=dataset.label_state,
        seen_at=dataset.at,
        why=chosen.why,
        fallback=chosen.fallback,
        asked_by=chosen.asked_by,
    )


def standing(lake: Lake, wanted: Plan) -> str | None:
    """The digest of a model that was trained on just this dataset by just this recipe; None where there is none.

    Such a model becomes the candidate of the plan `wanted`: labels that are newer and change nothing (the same boxes
    again) need no training.
    """
    last = _stored(lake)
    same = [last.digest] if last and (last.dataset, last.recipe) == (wanted.dataset, wanted.recipe) else []
    for digest in [*same, *trained_before(lake, wanted.dataset, wanted.recipe.digest())]:
        if is_complete(lake, digest):
            if last is None or last.digest != digest or Plan.model_validate(last.model_dump()) != wanted:
                write(lake, wanted, digest)
            return digest
    return None


def write(lake: Lake, finished: Plan, digest: str) -> None:
    """Records the model that the plan's training made in `candidates`, and points training/candidate.json at it."""
    result = read_result(lake, digest)
    record_candidate(
        lake,
        CandidateRecord(
            digest=digest,
            at=datetime.now(UTC),
            dataset=finished.dataset,
            recipe=finished.recipe.digest(),
            detector=finished.recipe.detector,
            label_state=finished.label_state,
            seen_at=finished.seen_at,
            fallback=finished.fallback,
            asked_by=finished.asked_by,
            ended=result.get("training"),
            **{k: result.get(k) for k in ("threshold", "val_map50", "epochs", "steps", "seconds")},
        ),
    )
    fields = finished.model_dump() | {"recipe": finished.recipe.model_dump(mode="json"), "digest": digest}
    CandidatePointer.model_validate(fields).write(lake)


def current(lake: Lake) -> Candidate:
    """The model that is evaluated and registered next.

    Raises:
        NotReady: nothing has been trained yet.
    """
    candidate = _stored(lake)
    if candidate is None:
        raise NotReady(f"{lake.url} has no candidate: materialize `candidate_model` first.")
    return candidate


def _stored(lake: Lake) -> Candidate | None:
    pointer = CandidatePointer.read(lake)
    return None if pointer is None else Candidate.model_validate(pointer.model_dump())
