"""How far one training is and when it ends, counted in optimizer steps and wall time over all its attempts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import monotonic

TELL_EVERY_S = 1.0  # seconds between two words on a running training: what is told costs a copy from the GPU
CHECKPOINT_EVERY_S = 30.0  # seconds of training that a kill may lose inside an epoch
CHECKPOINT_SHARE = 0.02  # of the training's time that checkpoints inside an epoch may take, where they are slow


@dataclass
class Pace:
    """The plan of one training and how much of it is behind.

    minutes: budget of wall time; None: none. epochs: their number, or its upper bound where `minutes` decides.
    spent_before: seconds that earlier attempts took, and what went before this one. steps: optimizer steps planned;
    None: as many as the epochs have. taken: optimizer steps behind.
    """

    minutes: float | None
    epochs: int
    spent_before: float = 0.0
    steps: int | None = None
    taken: int = 0
    validation_s: float = 0.0
    started: float = field(default_factory=lambda: monotonic())
    _first: tuple[float, int] | None = None  # (seconds, steps) at the first step of this attempt, for its speed

    def spent(self) -> float:
        """Seconds of training, of this attempt and those before it: setting up, steps and validation."""
        return self.spent_before + monotonic() - self.started

    def step(self) -> bool:
        """Counts an optimizer step. True: it was the last one, by plan or by the clock."""
        if self._first is None:
            self._first = (self.spent(), self.taken)
        self.taken += 1
        return self.complete() or self.over()

    def complete(self) -> bool:
        """Whether all planned steps are taken; where none are planned the epochs tell."""
        return self.steps is not None and self.taken >= self.steps

    def over(self) -> bool:
        """Whether the minutes are over, less the time of a validation where one was timed: it comes after the last
        step and is part of the budget."""
        return self.minutes is not None and self.spent() + self.validation_s >= self.minutes * 60

    def planned(self, done: int) -> int:
        """Epochs in all, judged after `done` >= 1 of them: the end nearest to the budget, never under `done`.

        A training planned in steps keeps its plan whatever the machine's pace.
        """
        if self.minutes is None or self.steps is not None:
            return self.epochs
        return max(done, min(self.epochs, round(self.minutes * 60 * done / max(self.spent(), 1e-9))))

    def planned_steps(self, epochs: int, steps_per_epoch: int) -> int:
        """Optimizer steps in all, where `epochs` are planned."""
        return self.steps if self.steps is not None else epochs * steps_per_epoch

    def progress(self, epochs_done: float) -> float:
        """Share of the training behind it, 0..1: of the planned steps, else the larger of its epochs' and its
        minutes' share."""
        if self.steps is not None:
            return min(1.0, self.taken / self.steps)
        by_time = 0.0 if self.minutes is None else self.spent() / (self.minutes * 60)
        return min(1.0, max(epochs_done / self.epochs, by_time))

    def seconds_left(self, planned_steps: int) -> float | None:
        """Until the last step at this attempt's speed, at most what is left of the minutes; None: cannot be told."""
        left = None
        if self._first is not None and self.taken - self._first[1] > 1:
            seconds, steps = self._first
            left = max(0, planned_steps - self.taken) * (self.spent() - seconds) / (self.taken - steps - 1)
        if self.minutes is None:
            return left
        budget = max(0.0, self.minutes * 60 - self.spent())
        if left is None:  # beside planned steps the minutes are a far cap, and no forecast
            return budget if self.steps is None else None
        return min(left, budget)

    @contextmanager
    def validating(self) -> Iterator[None]:
        """Times a validation: the next one is expected to take as long."""
        started = monotonic()
        yield
        self.validation_s = monotonic() - started


class Every:
    """True at most once in `seconds`; also no more often than `share` of the time allows where costs are timed."""

    def __init__(self, seconds: float, share: float = 1.0, *, at_once: bool = False) -> None:
        self.wait, self.share = seconds, share
        self.seconds = seconds
        self.last = -float("inf") if at_once else monotonic()

    def due(self) -> bool:
        """Whether it is time again; then the next wait begins."""
        now = monotonic()
        if now - self.last < self.wait:
            return False
        self.last = now
        return True

    @contextmanager
    def timed(self) -> Iterator[None]:
        """Around what is done: a slow one is done less often."""
        started = monotonic()
        yield
        self.last = monotonic()
        self.wait = max(self.seconds, (self.last - started) / self.share)
