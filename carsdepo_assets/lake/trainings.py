"""What came of the trainings of each state of the labels: the table `trainings`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Literal

import pyarrow.compute as pc
from pydantic import BaseModel, ConfigDict

from carsdepo_assets.lake.lake import Lake

AskedBy = Literal["retrain", "person"]
RECIPE_ITSELF = "recipe"  # stands for "no fallback" where a name is wanted


class Outcome(BaseModel):
    """One row. under_floor, met: a model was judged. skipped: a fallback that changes nothing or lacks its weights.
    did_not_finish: policy.training.max_attempts runs ended without a judged model.
    """

    model_config = ConfigDict(frozen=True)

    label_state: int
    at: datetime
    asked_by: AskedBy
    fallback: str | None = None
    outcome: Literal["met", "under_floor", "skipped", "did_not_finish"]
    dataset: str | None = None
    recipe: str | None = None
    digest: str | None = None
    version: int | None = None
    map50: float | None = None
    floor: float | None = None
    reason: str = ""

    @property
    def tried(self) -> str:
        """Name of what was tried."""
        return self.fallback or RECIPE_ITSELF

    def unit(self) -> str:
        """The same again is the same row. What the sensor asked for counts apart from what a person did."""
        if self.digest is None:
            return f"{self.label_state}:{self.tried}:{self.outcome}"
        asked = "person" if self.asked_by == "person" else self.tried
        return f"{self.label_state}:{asked}:{self.outcome}:{self.dataset}:{self.recipe}:{self.digest}"


def record_outcome(lake: Lake, outcome: Outcome) -> bool:
    """Appends the row; False where it stands already. A person's look at a model that was judged at this state of the
    labels already (the same training, reused) adds nothing."""
    if outcome.asked_by == "person" and judged_before(lake, outcome):
        return False
    return lake.append("trainings", [outcome.model_dump()], outcome.unit())


def judged_before(lake: Lake, outcome: Outcome) -> bool:
    """Whether the same model had the same outcome at the same state of the labels."""
    same = [(o.outcome, o.digest) for o in outcomes(lake, outcome.label_state)]
    return (outcome.outcome, outcome.digest) in same


def outcomes(lake: Lake, label_state: int) -> list[Outcome]:
    """Of one state of the labels, oldest first."""
    if lake.version("trainings") < 0:
        return []
    rows = lake.read("trainings")
    found = rows.filter(pc.equal(rows["label_state"], label_state)).to_pylist()
    return sorted((Outcome.model_validate(r) for r in found), key=lambda o: o.at)


def trained_before(lake: Lake, dataset: str, recipe: str) -> Sequence[str]:
    """Digests of the models that this recipe (its digest) made of this dataset, newest first."""
    if lake.version("trainings") < 0:
        return []
    rows = lake.read("trainings", columns=["at", "dataset", "recipe", "digest"]).to_pylist()
    same = [r for r in rows if (r["dataset"], r["recipe"]) == (dataset, recipe) and r["digest"] is not None]
    return [r["digest"] for r in sorted(same, key=lambda r: r["at"], reverse=True)]
