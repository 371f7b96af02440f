"""What every detector offers, and what a recipe says."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from carsdepo_assets.scoring.boxes import Detections


class Recipe(BaseModel):
    """How to train: everything but the data. Recorded with every model."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    detector: Literal["yolov8n", "faster_rcnn"] = "yolov8n"
    init: str = Field("scratch", description="scratch | imagenet | champion | yolov8n | a weights file")
    champion: str | None = Field(None, description="digest of the model that `init: champion` starts from")
    image_size: int = Field(160, ge=64, description="pixels: side of the square the network sees")
    epochs: int = Field(10, ge=1)
    steps: int | None = Field(
        None,
        ge=1,
        description="optimizer steps after which training ends, whatever `epochs` says; None: the epochs decide",
    )
    minutes: float | None = Field(None, gt=0, description="wall time after which training stops, whatever is left")
    batch: int = Field(8, ge=1)
    lr: float = Field(0.001, gt=0)
    weight_decay: float = Field(0.0005, ge=0)
    freeze: int = Field(0, ge=0, description="leading layers kept as they are")
    device: str = Field("cpu", description="cpu, cuda:0 ...")
    seed: int = 0
    extra: dict[str, Any] = Field(default_factory=dict, description="arguments of the one detector, by its own names")

    def digest(self) -> str:
        """First 12 hex digits of the sha256 of the recipe as sorted JSON."""
        return hashlib.sha256(json.dumps(self.model_dump(mode="json"), sort_keys=True).encode()).hexdigest()[:12]


@dataclass(frozen=True)
class TrainingImage:
    """One image of a training folder; path to an upright image file, boxes in that file's pixels."""

    image_id: str
    path: Path
    width: int
    height: int
    split: str
    xyxy: np.ndarray
    classes: np.ndarray


@dataclass(frozen=True)
class TrainingSet:
    class_names: tuple[str, ...]
    images: Sequence[TrainingImage]

    def split(self, name: str) -> list[TrainingImage]:
        return [i for i in self.images if i.split == name]


@dataclass(frozen=True)
class Trained:
    """weights: the file to keep. history: one row an epoch, the numbers that were reported; the last epoch may be part
    of one. steps of planned_steps: optimizer steps taken and planned.
    """

    weights: Path
    history: list[dict[str, float]]
    steps: int
    planned_steps: int
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def stopped_by_time(self) -> bool:
        """Whether the minutes ended it before its plan was done."""
        return self.steps < self.planned_steps

    @property
    def ended(self) -> str:
        """How it ended, in words."""
        if self.stopped_by_time:
            return f"stopped by time after {self.steps:,} of {self.planned_steps:,} steps"
        return f"all {self.steps:,} planned steps"


@dataclass(frozen=True)
class Progress:
    """A running training. epoch: the one under way, from 1. loss: its mean so far; None before a step of it.

    seconds: wall time so far, over all attempts; seconds_left: None where it cannot be told yet. validating: whether
    it measures what was learnt till now.
    """

    epoch: int
    steps: int
    planned_steps: int
    seconds: float
    seconds_left: float | None
    loss: float | None
    validating: bool = False


Report = Callable[[dict[str, float]], None]
Watch = Callable[[Progress], None]


def unwatched(progress: Progress) -> None:
    """Nobody looks."""


class Predictor(Protocol):
    def predict(self, images: Sequence[np.ndarray], min_score: float = 0.001) -> list[Detections]:
        """images: HxWx3 uint8 RGB, any sizes. One Detections each: at most 100 boxes, best first, clipped."""
        ...


class Detector(Protocol):
    name: str

    def train(
        self,
        data: TrainingSet,
        recipe: Recipe,
        out: Path,
        report: Report,
        *,
        watch: Watch = unwatched,
        spent_s: float = 0.0,
    ) -> Trained:
        """Trains in `out`, resuming from the checkpoint it finds there; calls report(row) after every epoch and
        watch(progress) about once a second.

        A row has at least epoch, steps, planned_steps, seconds, loss and, when val is not empty, val_map50. The
        recipe's minutes are looked at after every optimizer step; spent_s of them are gone already. When they are
        over in the middle of an epoch, that epoch ends there: its weights are validated, reported and kept.
        """
        ...

    def load(self, weights: Path, class_names: Sequence[str], image_size: int, device: str = "cpu") -> Predictor: ...
