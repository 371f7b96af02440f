"""The table `candidates`: every model that a training made, with what it was trained on and how the training went."""

from __future__ import annotations

from datetime import datetime

from pydantic import BaseModel, ConfigDict, Field

from carsdepo_assets.lake.lake import Lake

TABLE = "candidates"


class CandidateRecord(BaseModel):
    """One model that became the candidate. A figure that its training did not report is None, never 0."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    digest: str
    at: datetime = Field(description="when it became the candidate")
    dataset: str = Field(description="version of the dataset that it was trained on")
    recipe: str = Field(description="the recipe's digest")
    detector: str
    label_state: int = Field(description="annotation revisions that the dataset's build had seen")
    seen_at: datetime | None = Field(None, description="when that build looked at the labels; None: unknown")
    fallback: str | None = Field(None, description="the policy's fallback that made the recipe; None: the usual recipe")
    asked_by: str = Field("person", description="retrain (the sensor) or person")
    threshold: float | None = Field(None, description="score at and above which a box counts, chosen on val")
    val_map50: float | None = Field(None, description="mAP@.5 on the validation split, of the last epoch that has one")
    epochs: int | None = None
    steps: int | None = None
    seconds: float | None = Field(None, description="wall time of the training")
    ended: str | None = Field(None, description="how the training ended, in words")

    def unit(self) -> str:
        """Names the row: the same model for the same labels and the same reason is one row, however often written."""
        reason = "person" if self.asked_by == "person" else self.fallback or "recipe"
        return f"{self.digest}:{self.dataset}:{self.recipe}:{self.label_state}:{reason}"


def record_candidate(lake: Lake, record: CandidateRecord) -> bool:
    """Appends the row; False where it stands already."""
    return lake.append(TABLE, [record.model_dump()], record.unit())


def candidate_records(lake: Lake) -> list[CandidateRecord]:
    """All candidates, oldest first; those of before the table stand in `trainings` alone."""
    rows = lake.read(TABLE).to_pylist()
    return sorted((CandidateRecord.model_validate(row) for row in rows), key=lambda r: r.at)
