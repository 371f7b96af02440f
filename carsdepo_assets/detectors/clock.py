"""What a training took from the clock: its end, the epochs that were planned, how far its learning rate had fallen.

A budget of minutes makes these depend on the machine's pace. They are kept with the model, so that the training can be
made again with the same steps at the same rates, whatever the pace of the machine that makes it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass
class ClockDecisions:
    """What the clock decided in one training."""

    steps: int = 0
    """Optimizer steps that were taken when it ended."""
    planned: dict[int, int] = field(default_factory=dict)
    """Epochs that were planned, by the number of finished ones."""
    progress: list[float] = field(default_factory=list)
    """Share of the training that was done before each step, of 1; empty where no learning rate depended on it."""

    def state(self) -> dict[str, Any]:
        """As values of JSON, for a checkpoint and for clock.json."""
        return {**asdict(self), "planned": {str(k): v for k, v in self.planned.items()}}

    @classmethod
    def of_state(cls, state: Mapping[str, Any] | None) -> ClockDecisions:
        """Reads what `state` gave; nothing was decided where there is none, as in checkpoints of earlier releases."""
        if state is None:
            return cls()
        planned = {int(k): int(v) for k, v in state["planned"].items()}
        return cls(int(state["steps"]), planned, [float(share) for share in state["progress"]])

    @classmethod
    def of_history(cls, steps: int, history: Sequence[Mapping[str, float]]) -> ClockDecisions:
        """What the figures of the epochs say of a training of an earlier release, which kept no clock.json.

        Args:
            steps: Optimizer steps that were taken.
            history: A row an epoch.
        """
        planned = {int(row["epoch"]): int(row["epochs_planned"]) for row in history if "epochs_planned" in row}
        return cls(steps, planned)


_replayed: ContextVar[ClockDecisions | None] = ContextVar("replayed", default=None)


@contextmanager
def replaying(decisions: ClockDecisions | None) -> Iterator[None]:
    """Has the trainings of a block follow these decisions instead of the clock; None: the clock decides.

    They do not go through `Detector.train`: no kind of detector needs to know that its training is made again.
    """
    token = _replayed.set(decisions)
    try:
        yield
    finally:
        _replayed.reset(token)


def replayed_now() -> ClockDecisions | None:
    """The decisions that a training follows which begins now."""
    return _replayed.get()
