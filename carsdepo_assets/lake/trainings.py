"""The table `trainings`: how each training ended, by the state of the labels that it was to learn."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Literal

import pyarrow.compute as pc
from pydantic import BaseModel, ConfigDict

from carsdepo_assets.lake.lake import Lake

AskedBy = Literal["retrain", "person"]
Ending = Literal["met", "under_floor", "hopeless", "skipped", "did_not_finish"]
RECIPE_ITSELF = "recipe"  # stands for "no fallback" where a name is wanted


class Outcome(BaseModel):
    """How one training ended: a row of the table."""

    model_config = ConfigDict(frozen=True)

    label_state: int
    """annotation revisions that the dataset's build had seen"""
    at: datetime
    """when it ended, UTC"""
    asked_by: AskedBy
    """the retraining sensor, or a person"""
    fallback: str | None = None
    """name of the policy's fallback that changed the recipe; None: the usual recipe"""
    outcome: Ending
    """met, under_floor: the model was evaluated, and reached policy.evaluation.floor_map50 or not; hopeless: its
    diagnosis stopped the training, which gave no model; skipped: a fallback that changes nothing or lacks its weights;
    did_not_finish: policy.training.max_attempts runs ended without a model that could be evaluated"""
    dataset: str | None = None
    """version of the dataset"""
    recipe: str | None = None
    """digest of the recipe"""
    digest: str | None = None
    """digest of the model; None where none was evaluated"""
    version: int | None = None
    """version of the model in MLflow's registry"""
    map50: float | None = None
    """mAP@.5 on the golden set"""
    floor: float | None = None
    """policy.evaluation.floor_map50 at that time"""
    reason: str = ""
    """why, in whole sentences"""

    @property
    def tried(self) -> str:
        """Name of what was tried: the fallback's, or "recipe"."""
        return self.fallback or RECIPE_ITSELF

    def unit(self) -> str:
        """Names the row, so that the same outcome twice is one row.

        What the retraining sensor asked for counts apart from what a person did.
        """
        asked = "person" if self.asked_by == "person" else self.tried
        if self.outcome == "hopeless":
            return f"{self.label_state}:{asked}:{self.outcome}:{self.dataset}:{self.recipe}"
        if self.digest is None:
            return f"{self.label_state}:{self.tried}:{self.outcome}"
        return f"{self.label_state}:{asked}:{self.outcome}:{self.dataset}:{self.recipe}:{self.digest}"


def record_outcome(lake: Lake, outcome: Outcome) -> bool:
    """Appends an outcome to the table.

    Returns:
        False where nothing was appended: the same outcome is there, or a person evaluated a model once more that was
        evaluated at this state of the labels before.
    """
    if outcome.asked_by == "person" and outcome.digest is not None and judged_before(lake, outcome):
        return False
    return lake.append("trainings", [outcome.model_dump()], outcome.unit())


def judged_before(lake: Lake, outcome: Outcome) -> bool:
    """Whether a model had the same outcome before, at the same state of the labels."""
    same = [(o.outcome, o.digest) for o in outcomes(lake, outcome.label_state)]
    return (outcome.outcome, outcome.digest) in same


def outcomes(lake: Lake, label_state: int) -> list[Outcome]:
    """Returns the outcomes at one state of the labels, oldest first."""
    if lake.version("trainings") < 0:
        return []
    rows = lake.read("trainings")
    chosen = rows.filter(pc.equal(rows["label_state"], label_state)).to_pylist()
    return sorted((Outcome.model_validate(r) for r in chosen), key=lambda o: o.at)


def trained_before(lake: Lake, dataset: str, recipe: str) -> Sequence[str]:
    """Returns the digests of the models that a recipe gave on a dataset before, newest first.

    Args:
        lake: the lake.
        dataset: version of the dataset.
        recipe: digest of the recipe.
    """
    if lake.version("trainings") < 0:
        return []
    rows = lake.read("trainings", columns=["at", "dataset", "recipe", "digest"]).to_pylist()
    same = [r for r in rows if (r["dataset"], r["recipe"]) == (dataset, recipe) and r["digest"] is not None]
    return [r["digest"] for r in sorted(same, key=lambda r: r["at"], reverse=True)]
