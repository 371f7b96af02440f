"""What is found wrong with trainings: training/diagnosis/<key>.json, one file a training, rewritten while it trains.

The training writes it with the signals that the findings rest on, so that a killed one goes on from them. The site,
`carsdepo status`, the asset checks and the sensor `retrain` read the findings.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.lake.objects import ObjectMissing

FOLDER = "training/diagnosis"


class TrainingFinding(BaseModel):
    """A fault of a training, with its name."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    name: str = Field(description="such as loss_not_falling; docs/how-to/training-findings.md lists them")
    severity: Literal["warning", "hopeless"] = Field(description="hopeless: the training cannot become a usable model")
    since: int = Field(description="the optimizer step at which it was found")
    figures: dict[str, float] = Field(default_factory=dict, description="what it rests on, by name")
    evidence: str = Field(description="what was seen, in a sentence")
    advice: str = Field(description="what to do about it")

    @property
    def text(self) -> str:
        """The finding as a line for people."""
        return f"{self.name} since step {self.since:,}: {self.evidence} {self.advice}"


class StoredDiagnosis(BaseModel):
    """The diagnosis of one training as the lake has it."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    key: str = Field(description="names the training: its dataset and recipe")
    run_id: str | None = Field(None, description="id of the Dagster run that trained last")
    updated_at: datetime
    step: int = Field(0, description="the newest step that it has signals of")
    findings: tuple[TrainingFinding, ...] = ()
    stopped: bool = Field(False, description="whether the training was stopped as hopeless")
    signals: dict[str, Any] = Field(default_factory=dict, description="the newest signals, to go on from")

    @property
    def hopeless(self) -> tuple[TrainingFinding, ...]:
        """The findings for which a training is given up."""
        return tuple(f for f in self.findings if f.severity == "hopeless")


def diagnosis_key(training: str) -> str:
    """The file's key in the lake; training: as TrainingSpec.key gives it."""
    return f"{FOLDER}/{training}.json"


def write_diagnosis(lake: Lake, diagnosis: StoredDiagnosis) -> None:
    """Stores a diagnosis in place of what was stored before."""
    lake.put(diagnosis_key(diagnosis.key), diagnosis.model_dump_json().encode())


def read_diagnosis(lake: Lake, training: str) -> StoredDiagnosis | None:
    """The diagnosis of a training; None where there is none or it cannot be read."""
    try:
        return StoredDiagnosis.model_validate_json(lake.get(diagnosis_key(training)))
    except (ObjectMissing, ValidationError):
        return None
