"""How the training that runs now (or ran last) is getting on: training/progress.json, a small object written anew every
few seconds. No Dagster: the site, `carsdepo status` and a terminal's progress bar read it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.lake.objects import ObjectMissing

KEY = "training/progress.json"
UNDER_WAY = ("running", "evaluating")
State = Literal["running", "evaluating", "finished", "stopped_by_time", "failed"]


class TrainingProgress(BaseModel):
    """One training. seconds: wall time of it so far, over all attempts; seconds_left: None where it cannot be told.

    figures: the newest, by name (loss, val_map50 ...), unrounded. A training that was killed cannot say so: its state
    stays `running`, and updated_at stays where it was; see `look`.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    run_id: str | None = Field(None, description="the Dagster run's")
    detector: str
    dataset: str = Field(description="the dataset's version")
    recipe: str = Field(description="the recipe's digest")
    state: State = "running"
    detail: str = Field("", description="for people: how it ended")
    epoch: int = 0
    steps: int = 0
    planned_steps: int | None = None
    seconds: float = 0.0
    seconds_left: float | None = None
    figures: dict[str, float] = Field(default_factory=dict)
    started_at: datetime = Field(description="of this attempt")
    updated_at: datetime

    @property
    def share(self) -> float:
        """Of the planned steps that are behind, 0..1."""
        return min(1.0, self.steps / self.planned_steps) if self.planned_steps else 0.0


@dataclass(frozen=True)
class Look:
    """A training as it stands at a moment. silent: it should be running and gives no sign of life.

    text: whole sentences for people.
    """

    progress: TrainingProgress
    silent: bool
    text: str

    @property
    def under_way(self) -> bool:
        return self.progress.state in UNDER_WAY and not self.silent

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**self.progress.model_dump(mode="json"), "silent": self.silent, "text": self.text}


def write_progress(lake: Lake, progress: TrainingProgress) -> None:
    """Replaces what was there, whole or not at all."""
    lake.put(KEY, progress.model_dump_json(indent=1).encode())


def read_progress(lake: Lake, since: datetime | None = None) -> TrainingProgress | None:
    """The newest training's; None where there was none, or none that began after `since`, or it cannot be read.

    A progress bar gives the moment at which its own training began as `since`, so as not to show one before it.
    """
    try:
        progress = TrainingProgress.model_validate_json(lake.get(KEY))
    except (ObjectMissing, ValidationError):
        return None
    return None if since is not None and progress.started_at < since else progress


def look(lake: Lake, silent_after_s: float, now: datetime | None = None) -> Look | None:
    """The newest training at `now`; None before the first. Without a sign of life for silent_after_s seconds a
    training that should be running is taken for gone."""
    progress = read_progress(lake)
    if progress is None:
        return None
    age = ((now or datetime.now(UTC)) - progress.updated_at).total_seconds()
    silent = progress.state in UNDER_WAY and age > silent_after_s
    return Look(progress, silent, sentence(progress, silent))


def sentence(progress: TrainingProgress, silent: bool = False) -> str:
    """The training in words, with rounded figures."""
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
    """step 120 of 500 (epoch 2), loss 3.21, mAP@.5 0.41 on val; 45 s spent, about 1 min 20 s left"""
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
    names = {"loss": "loss {:.3g}", "val_map50": "mAP@.5 {:.3f} on val"}
    return ", ".join(form.format(figures[name]) for name, form in names.items() if name in figures)


def duration(seconds: float) -> str:
    """45 s, 1 min 20 s, 2 h 5 min"""
    whole = round(max(0.0, seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
