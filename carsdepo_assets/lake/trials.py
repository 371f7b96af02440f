"""The ledger of studies, table `trials`: every event of a study is a row, and what a trial is now is a view of them.

    opened        the study begins: studies/<study>/plan.json says what it will do
    asked         a trial is to be trained: its parameters and its whole recipe
    interrupted   its training was ended from outside, and goes on from its checkpoint
    complete | pruned | failed    how the trial ended, with its figures
    concluded     the study is over: the winner, or none, and why
    pinned        a person chose another trial, and why

Rows are only added, each named by what it says, so that work that is repeated after a kill adds nothing twice. Neither
Optuna's nor MLflow's database is needed to read a study.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from carsdepo_assets.lake.lake import Lake

TABLE = "trials"
FOLDER = "studies"
RUNGS = 10  # tenths of a trial's length, at which curves are compared
TrialState = Literal["asked", "complete", "pruned", "failed"]
ENDED = ("complete", "pruned", "failed")


class TrialEvent(BaseModel):
    """A row of the table. A figure that there is not is None, never 0."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    study: str
    at: datetime
    state: Literal["opened", "asked", "interrupted", "complete", "pruned", "failed", "concluded", "pinned"]
    number: int | None = Field(None, description="of the trial, or of the winner; None: none")
    dataset: str | None = None
    report_id: str | None = Field(None, description="the drift report that asked for the study")
    params: dict[str, Any] = Field(default_factory=dict, description="what the sampler chose, by dimension")
    changes: dict[str, Any] = Field(default_factory=dict, description="what that changes of the usual recipe")
    recipe: dict[str, Any] = Field(default_factory=dict, description="the whole recipe of the trial")
    recipe_digest: str | None = None
    value: float | None = Field(None, description="mAP@.5 on val")
    low: float | None = None
    high: float | None = None
    groups: int | None = None
    curve: dict[int, float] = Field(default_factory=dict, description="val mAP@.5 by rung, from 1 to RUNGS")
    steps: int | None = None
    seconds: float | None = None
    money: float | None = None
    currency: str | None = None
    place: str | None = None
    digest: str | None = Field(None, description="of the model")
    mlflow_run_id: str | None = None
    message: str = ""
    actor: str | None = None
    policy_digest: str | None = None
    dagster_run_id: str | None = None

    @field_validator("params", "changes", "recipe", "curve", mode="before")
    @classmethod
    def _of_json(cls, value: Any) -> Any:
        return json.loads(value) if isinstance(value, str) else {} if value is None else value

    @field_validator("message", mode="before")
    @classmethod
    def _text(cls, value: Any) -> Any:
        return "" if value is None else value

    def row(self) -> dict[str, Any]:
        """As the table holds it."""
        nested = ("params", "changes", "recipe", "curve")
        return self.model_dump(exclude=set(nested)) | {
            name: json.dumps(getattr(self, name), sort_keys=True) for name in nested
        }


@dataclass(frozen=True)
class Trial:
    """A trial as it is now."""

    asked: TrialEvent
    """What it was to do."""
    ended: TrialEvent | None
    """How it ended; None: it has not."""
    interruptions: int = 0
    """How often its training was ended from outside."""

    @property
    def number(self) -> int:
        """From 0; today's recipe is 0."""
        assert self.asked.number is not None
        return self.asked.number

    @property
    def state(self) -> TrialState:
        """How it stands."""
        return "asked" if self.ended is None else self.ended.state  # type: ignore[return-value]

    @property
    def value(self) -> float | None:
        """mAP@.5 on val of a trial that was trained to its end; None of any other."""
        whole = self.ended is not None and self.ended.state == "complete"
        return self.ended.value if self.ended is not None and whole and is_score(self.ended.value) else None


def is_score(value: float | None) -> bool:
    """Whether a trial's figure can be compared with others."""
    return value is not None and math.isfinite(value)


def record_event(lake: Lake, event: TrialEvent, unit: str) -> bool:
    """Appends a row.

    Args:
        lake: the lake.
        event: what happened.
        unit: names it within its study, such as `3:asked`: a second event of the name is not written.

    Returns:
        False where one of this name stands already.
    """
    return lake.append(TABLE, [event.row()], f"{event.study}:{unit}")


def events(lake: Lake, study: str | None = None) -> list[TrialEvent]:
    """All events of a study, or of all studies, oldest first."""
    where = [] if study is None else [("study", "=", study)]
    rows = lake.read(TABLE, where=where).to_pylist()
    return [TrialEvent.model_validate(row) for row in sorted(rows, key=lambda r: (r["at"], r["state"]))]


def trials(of: Sequence[TrialEvent]) -> list[Trial]:
    """The trials of one study by number, from its events."""
    asked = {e.number: e for e in reversed(of) if e.state == "asked"}
    ended = {e.number: e for e in reversed(of) if e.state in ENDED}
    interrupted = [e.number for e in of if e.state == "interrupted"]
    return [Trial(asked[n], ended.get(n), interrupted.count(n)) for n in sorted(asked, key=lambda n: n or 0)]


def conclusion(of: Sequence[TrialEvent]) -> TrialEvent | None:
    """How one study was concluded; None while it is not."""
    return next((e for e in of if e.state == "concluded"), None)


def pin(of: Sequence[TrialEvent]) -> TrialEvent | None:
    """The newest pin of one study; None where no person has pinned a trial."""
    return next((e for e in reversed(of) if e.state == "pinned"), None)


def chosen(lake: Lake, *, automatic: bool = True) -> TrialEvent | None:
    """The trial whose changes the next recipe has: the newest winner or pin of all studies; None: the usual recipe.

    A person's pin goes before the winner of its study, also where it was made while that study still ran.

    Args:
        lake: the lake.
        automatic: whether winners count; else pins alone.
    """
    all_events = events(lake)
    counting = [
        e
        for e in all_events
        if e.number is not None and (e.state == "pinned" or (automatic and e.state == "concluded"))
    ]
    if not counting:
        return None
    return pin([e for e in all_events if e.study == counting[-1].study]) or counting[-1]


def plan_key(study: str) -> str:
    """Where a study's plan lies in the lake."""
    return f"{FOLDER}/{study}/plan.json"


def result_key(study: str, number: int) -> str:
    """Where the worker of a trial leaves its result, before it reports it."""
    return f"{FOLDER}/{study}/trials/{number}.json"


def epochs_key(study: str, number: int) -> str:
    """Where the worker of a trial keeps the figures of its epochs while it trains."""
    return f"{FOLDER}/{study}/trials/{number}.epochs.json"


def report_key(study: str) -> str:
    """Where a study's page lies, without an ending."""
    return f"reports/study/{study}"


def on_rungs(history: Sequence[dict[str, float]], planned: int) -> dict[int, float]:
    """The best val mAP@.5 by tenths of a trial's length, so that families with other epochs compare.

    Args:
        history: rows that the training reported, one an epoch, with steps and val_map50.
        planned: optimizer steps of the whole trial, as far as is known.
    """
    curve: dict[int, float] = {}
    best: float | None = None
    for row in history:
        if "val_map50" not in row:
            continue
        best = row["val_map50"] if best is None else max(best, row["val_map50"])
        reached = min(RUNGS, int(RUNGS * row["steps"] / max(1, planned)))
        for rung in range(max(1, reached), RUNGS + 1):
            curve[rung] = best
    last = max((int(RUNGS * r["steps"] / max(1, planned)) for r in history), default=0)
    return {rung: value for rung, value in curve.items() if rung <= max(1, min(RUNGS, last))}
