"""Follows how far a training is and decides when it ends, by optimizer steps and wall time over all its attempts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import monotonic

from carsdepo_assets.detectors.clock import ClockDecisions, replayed_now

TELL_EVERY_S = 1.0  # seconds between two reports of progress: each costs a copy from the GPU
CHECKPOINT_EVERY_S = 30.0  # seconds of training that a kill may lose inside an epoch
CHECKPOINT_SHARE = 0.02  # of the training's time that checkpoints inside an epoch may take, where they are slow


@dataclass
class Pace:
    """The plan of one training and how much of it is done."""

    minutes: float | None
    """Budget of wall time; None: no budget."""
    epochs: int
    """Number of epochs, or its upper bound where the minutes decide."""
    spent_before: float = 0.0
    """Seconds that earlier attempts took, and what went before this one."""
    steps: int | None = None
    """Optimizer steps that are planned; None: as many as the epochs have."""
    taken: int = 0
    """Optimizer steps that were taken."""
    validation_s: float = 0.0
    """Seconds that the last validation took."""
    started: float = field(default_factory=lambda: monotonic())
    replay: ClockDecisions | None = field(default_factory=replayed_now)
    """What the clock said in the training that is made again; None: this machine's clock decides."""
    clock: ClockDecisions = field(default_factory=ClockDecisions)
    """What the clock has decided so far, in all attempts."""
    _first: tuple[float, int] | None = None  # (seconds, steps) at the first step of this attempt, for its speed

    def spent(self) -> float:
        """Seconds of training so far, in this attempt and those before it, with set-up and validation."""
        return self.spent_before + monotonic() - self.started

    def step(self) -> bool:
        """Counts an optimizer step and returns whether it was the last one, by plan or by the clock."""
        if self._first is None:
            self._first = (self.spent(), self.taken)
        self.taken += 1
        self.clock.steps = self.taken
        return self.complete() or self.over()

    def complete(self) -> bool:
        """Whether all planned steps were taken; always False where epochs are planned instead."""
        return self.steps is not None and self.taken >= self.steps

    def over(self) -> bool:
        """Whether the budget of minutes is used up.

        The time of a validation, where one was timed, is kept free: it follows the last step and is part of the budget.
        A training that is made again ends with the step with which the first one ended.
        """
        if self.replay is not None:
            return self.taken >= self.replay.steps
        return self.minutes is not None and self.spent() + self.validation_s >= self.minutes * 60

    def planned(self, finished: int) -> int:
        """Epochs of the whole training, estimated from the pace of those that are finished.

        Args:
            finished: Epochs that are finished, at least 1; the plan is never shorter.

        Returns:
            The number of epochs whose end comes nearest to the budget of minutes.

        A training that is planned in steps keeps its plan whatever the machine's pace.
        """
        if self.minutes is None or self.steps is not None:
            return self.epochs
        if self.replay is not None and finished in self.replay.planned:
            planned = self.replay.planned[finished]
        else:
            planned = round(self.minutes * 60 * finished / max(self.spent(), 1e-9))
            planned = max(finished, min(self.epochs, planned))
        self.clock.planned[finished] = planned
        return planned

    def planned_steps(self, epochs: int, steps_per_epoch: int) -> int:
        """Optimizer steps of the whole training, where `epochs` are planned."""
        return self.steps if self.steps is not None else epochs * steps_per_epoch

    def progress(self, epochs_done: float) -> float:
        """Share of the training that is done, of 1: by planned steps, else by epochs or minutes, the larger of both."""
        if self.steps is not None:
            return min(1.0, self.taken / self.steps)
        if self.minutes is None:
            return min(1.0, epochs_done / self.epochs)
        if self.replay is not None and self.taken < len(self.replay.progress):
            share = self.replay.progress[self.taken]
        else:
            share = min(1.0, max(epochs_done / self.epochs, self.spent() / (self.minutes * 60)))
        self.clock.progress[self.taken :] = [share]
        return share

    def seconds_left(self, planned_steps: int) -> float | None:
        """Estimated seconds to the last step at this attempt's speed; None where that cannot be estimated yet."""
        step_s = self._step_seconds()
        left = None if step_s is None else max(0, planned_steps - self.taken) * step_s
        if self.minutes is None:
            return left
        budget = max(0.0, self.minutes * 60 - self.spent())
        if left is None:  # beside planned steps the minutes are a far cap, and no forecast
            return budget if self.steps is None else None
        return min(left, budget)

    def expected_steps(self, planned_steps: int) -> int:
        """Optimizer steps of the whole training, for people: those that are planned, or as many as the minutes allow.

        Before the first epoch has ended the planned epochs are an upper bound, which may be twenty times too many.
        """
        step_s = self._step_seconds()
        if self.minutes is None or self.steps is not None or not step_s:
            return planned_steps
        budget = max(0.0, self.minutes * 60 - self.spent())
        return max(self.taken, min(planned_steps, self.taken + round(budget / step_s)))

    def _step_seconds(self) -> float | None:
        """Seconds of an optimizer step in this attempt; None before its second one."""
        if self._first is None or self.taken - self._first[1] <= 1:
            return None
        seconds, steps = self._first
        return (self.spent() - seconds) / (self.taken - steps - 1)

    @contextmanager
    def validating(self) -> Iterator[None]:
        """Times a validation: the next one is expected to take as long."""
        started = monotonic()
        yield
        self.validation_s = monotonic() - started


class Every:
    """Says when something that is repeated is due again: once in `seconds`, and less often where it is slow.

    Its cost, where `timed` measures it, takes no more than `share` of the time.
    """

    def __init__(self, seconds: float, share: float = 1.0, *, at_once: bool = False) -> None:
        self.wait, self.share = seconds, share
        self.seconds = seconds
        self.last = -float("inf") if at_once else monotonic()

    def due(self) -> bool:
        """Whether it is due; if so the next wait begins."""
        now = monotonic()
        if now - self.last < self.wait:
            return False
        self.last = now
        return True

    @contextmanager
    def timed(self) -> Iterator[None]:
        """Measures what is repeated, so that it becomes due less often where it is slow."""
        started = monotonic()
        yield
        self.last = monotonic()
        self.wait = max(self.seconds, (self.last - started) / self.share)
