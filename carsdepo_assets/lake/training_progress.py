"""Progress of the training that runs now, or ran last: training/progress.json, which is rewritten every few seconds.

The site, `carsdepo status` and the progress bar of a terminal read it. It needs no Dagster.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.lake.objects import ObjectMissing
from carsdepo_assets.lake.training_findings import TrainingFinding

KEY = "training/progress.json"
UNDER_WAY = ("running", "evaluating")
State = Literal["running", "evaluating", "finished", "stopped_by_time", "failed"]


class TrainingProgress(BaseModel):
    """The progress of one training.

    The state of a training that was killed stays `running`, and its updated_at stands still: see `training_status`.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    run_id: str | None = Field(None, description="id of its Dagster run")
    detector: str = Field(description="name of the detector")
    dataset: str = Field(description="the dataset's version")
    recipe: str = Field(description="the recipe's digest")
    state: State = Field("running", description="what it is doing, or how it ended")
    detail: str = Field("", description="how it ended, in words")
    epoch: int = Field(0, description="the current epoch, from 1")
    steps: int = Field(0, description="steps taken, over all attempts")
    planned_steps: int | None = Field(None, description="steps that it is to take; None: limited by time alone")
    seconds: float = Field(0.0, description="wall time so far, over all attempts")
    seconds_left: float | None = Field(None, description="estimate of the wall time to go; None: no estimate yet")
    figures: dict[str, float] = Field(default_factory=dict, description="the newest, unrounded: loss, val_map50 ...")
    findings: tuple[TrainingFinding, ...] = Field((), description="what is found wrong with it so far")
    started_at: datetime = Field(description="start of this attempt")
    updated_at: datetime = Field(description="when this was written")

    @property
    def share(self) -> float:
        """The share of the planned steps that are taken, 0..1."""
        return min(1.0, self.steps / self.planned_steps) if self.planned_steps else 0.0


@dataclass(frozen=True)
class TrainingStatus:
    """A training's progress at a moment, and whether it is still alive."""

    progress: TrainingProgress
    """what it wrote last"""
    silent: bool
    """it should be running but has written nothing for too long"""
    text: str
    """the same in whole sentences"""

    @property
    def under_way(self) -> bool:
        """Whether it is running."""
        return self.progress.state in UNDER_WAY and not self.silent

    def to_dict(self) -> dict[str, Any]:
        """Returns all of it as values that JSON can hold."""
        return {**self.progress.model_dump(mode="json"), "silent": self.silent, "text": self.text}


def write_progress(lake: Lake, progress: TrainingProgress) -> None:
    """Stores the progress in place of what was stored before; readers see the one or the other."""
    lake.put(KEY, progress.model_dump_json(indent=1).encode())


def read_progress(lake: Lake, since: datetime | None = None) -> TrainingProgress | None:
    """Returns the progress of the newest training.

    Args:
        lake: the lake.
        since: only of a training that started at or after this moment. A progress bar gives the start of its own
            training, so that it does not show an earlier one.

    Returns:
        None where there is none, or it cannot be read.
    """
    try:
        progress = TrainingProgress.model_validate_json(lake.get(KEY))
    except (ObjectMissing, ValidationError):
        return None
    return None if since is not None and progress.started_at < since else progress


def training_status(lake: Lake, silent_after_s: float, now: datetime | None = None) -> TrainingStatus | None:
    """Returns how the newest training is getting on.

    Args:
        lake: the lake.
        silent_after_s: seconds without an update after which a training that should be running counts as dead.
        now: the moment at which the training is looked at; None: now.

    Returns:
        None before the first training.
    """
    progress = read_progress(lake)
    if progress is None:
        return None
    age = ((now or datetime.now(UTC)) - progress.updated_at).total_seconds()
    silent = progress.state in UNDER_WAY and age > silent_after_s
    return TrainingStatus(progress, silent, sentence(progress, silent))


def sentence(progress: TrainingProgress, silent: bool = False) -> str:
    """Returns the progress as a sentence, with rounded figures; silent: as in `TrainingStatus`."""
    name = f"{progress.detector} on dataset {progress.dataset[:8]}"
    where = steps_text(progress)
    if silent:
        return (
            f"{name}: no sign of life since {progress.updated_at:%Y-%m-%d %H:%M:%S} UTC, at {where}. "
            "It goes on from its checkpoint when the job runs again."
        )
    if progress.state == "running":
        return f"{name} trains: {where}."
    if progress.state == "evaluating":
        return f"{name} is being evaluated: {where}."
    ended = f"{progress.updated_at:%Y-%m-%d %H:%M} UTC"
    if progress.state == "failed":
        return f"{name} failed at {ended}, at {where}: {progress.detail}"
    figures = figures_text(progress.figures)
    return f"{name} ended at {ended}: {progress.detail}{', ' + figures if figures else ''}."


def steps_text(progress: TrainingProgress) -> str:
    """Returns a text such as "step 120 of 500 (epoch 2), loss 3.21, mAP@.5 0.41 on val; 45 s spent, about 9 s left"."""
    if not progress.steps:
        return f"setting up, {duration(progress.seconds)} spent"
    of = f" of {progress.planned_steps:,}" if progress.planned_steps else ""
    parts = [f"step {progress.steps:,}{of} (epoch {progress.epoch})"]
    if figures := figures_text(progress.figures):
        parts.append(figures)
    spent = f"{duration(progress.seconds)} spent"
    if progress.seconds_left is not None and progress.state == "running":
        spent += f", about {duration(progress.seconds_left)} left"
    return ", ".join(parts) + "; " + spent


def figures_text(figures: dict[str, float]) -> str:
    """Returns a text such as "loss 3.21, mAP@.5 0.412 on val" of those figures that are there."""
    names = {"loss": "loss {:.3g}", "val_map50": "mAP@.5 {:.3f} on val"}
    return ", ".join(form.format(figures[name]) for name, form in names.items() if name in figures)


def duration(seconds: float) -> str:
    """Returns a text such as "45 s", "1 min 20 s" or "2 h 5 min"."""
    whole = round(max(0.0, seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
