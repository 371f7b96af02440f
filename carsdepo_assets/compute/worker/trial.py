"""What a training is told when it is the trial of a study: which one, and the earlier trials that it is pruned by."""

from __future__ import annotations

import json
import math
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from carsdepo_assets.lake.lake import Lake, ObjectMissing
from carsdepo_assets.lake.trials import epochs_key, result_key


class TrialTerms(BaseModel):
    """The part of a training's spec that makes it a trial.

    The earlier curves are given, and not looked up, so that a trial on any machine decides alike, and decides the same
    after a kill.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    study: str
    number: int = Field(ge=0)
    pruner: Literal["median", "hyperband", "none"] = "none"
    prune_after: float = Field(0.0, ge=0, le=1, description="share of the trial's length")
    prune_startup: int = Field(1, ge=1, description="trials that must have ended whole before one is stopped")
    curves: tuple[dict[int, float], ...] = Field(
        (), description="val mAP@.5 by rung, of the trials that ended whole before this one began"
    )
    resamples: int = Field(400, ge=100, description="of the interval's bootstrap over groups")
    level: float = Field(0.95, gt=0.5, lt=1)

    def result(self, lake: Lake) -> dict[str, Any] | None:
        """What the trial's worker left as its result; None while it has not, or where that is damaged: then the trial
        is trained again."""
        result = _read(lake, result_key(self.study, self.number))
        return result if isinstance(result, dict) and {"state", "why"} <= result.keys() else None

    def leave(self, lake: Lake, result: dict[str, Any]) -> None:
        """Stores the result: from now on the trial is not trained again."""
        lake.put(result_key(self.study, self.number), json.dumps(result, indent=1).encode())

    def epochs(self, lake: Lake) -> list[dict[str, float]]:
        """The rows of the epochs that the trial has behind it, from before a kill."""
        rows = _read(lake, epochs_key(self.study, self.number))
        return rows if isinstance(rows, list) and all(isinstance(row, dict) for row in rows) else []

    def keep_epochs(self, lake: Lake, rows: list[dict[str, float]]) -> None:
        """Stores the rows of the epochs so far."""
        finite = [{k: v for k, v in row.items() if math.isfinite(v)} for row in rows]
        lake.put(epochs_key(self.study, self.number), json.dumps(finite).encode())


def _read(lake: Lake, key: str) -> Any:
    """What a JSON file of the lake holds; None where it is not there or damaged."""
    try:
        return json.loads(lake.get(key))
    except (ObjectMissing, ValueError, RecursionError):
        return None
