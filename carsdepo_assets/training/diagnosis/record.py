"""The signals of a training that the rules look at: the first and the newest steps, and the validations.

Its size does not grow with the training. It is written as JSON, so that a killed training goes on with it.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from typing import Any

from carsdepo_assets.detectors.signals import BoxSignals, StepSignals, ValidationSignals

_VALIDATIONS = 200  # the newest that are kept; the lowest loss of all is kept apart


@dataclass(frozen=True)
class Best:
    """A validation that none before was better than."""

    step: int
    value: float
    """Its validation loss, or its mAP@.5."""
    loss: float
    """The training loss then."""


class SignalRecord:
    """The signals so far.

    Args:
        window: steps that count as the first, and as the newest.
        samples: measured gradients that are looked at together.
        fresh: whether the training started from weights that have never detected anything.
        floor: mAP@.5 from which a model is of use.
    """

    def __init__(self, window: int, samples: int, *, fresh: bool, floor: float) -> None:
        self.window, self.fresh, self.floor = window, fresh, floor
        self.first: list[StepSignals] = []
        self.newest: deque[StepSignals] = deque(maxlen=window)
        self.gradients: deque[StepSignals] = deque(maxlen=20 * samples)  # steps whose gradients were measured
        self.validations: deque[ValidationSignals] = deque(maxlen=_VALIDATIONS)
        self.peak: tuple[float, int] = (0.0, 0)
        """The highest learning rate, and the step that reached it: the end of the warm-up."""
        self.block: list[float] = []
        self.blocks: tuple[float, float] | None = None
        """The lowest and the highest mean loss of `window` steps so far, one such block after another."""
        self.ended = False
        """Whether the last step is taken."""
        self.lowest: Best | None = None
        self.highest: Best | None = None
        self.earliest: Best | None = None
        """The first mAP@.5: that of random weights may be above the floor by chance."""

    def past(self, share: float) -> bool:
        """Whether so much of the plan is done; the plan is known from the first validation on."""
        return self.ended or (bool(self.validations) and self.step >= share * self.validations[-1].planned_steps)

    @property
    def of_use(self) -> bool:
        """Whether a validation showed a model above the floor, and not by the chance of random weights."""
        if self.highest is None or self.highest.value < self.floor:
            return False
        if not self.fresh or self.earliest is None:
            return True
        return self.highest.value >= self.earliest.value + self.floor

    @property
    def step(self) -> int:
        """The newest step; 0 before the first."""
        last = [r[-1].step for r in (self.newest, self.validations) if r]
        return max(last, default=0)

    def add_step(self, signals: StepSignals) -> None:
        """Adds a step. One that was there before is repeated after a kill: what followed it is forgotten."""
        if signals.step <= self.step:
            self.forget_from(signals.step)
        if not self.first or signals.step < self.first[0].step + self.window:
            self.first.append(signals)
        self.newest.append(signals)
        self._add_to_block(signals)
        if signals.lr > self.peak[0]:
            self.peak = (signals.lr, signals.step)
        if signals.gradient_norm is not None:
            self.gradients.append(signals)

    def _add_to_block(self, signals: StepSignals) -> None:
        self.block.append(signals.loss)
        if signals.step % self.window == 0:
            mean = sum(self.block) / len(self.block)
            low, high = self.blocks or (mean, mean)
            self.blocks, self.block = (min(low, mean), max(high, mean)), []

    def moved(self, factor: float) -> bool:
        """Whether the loss was ever so many times as high as at another time."""
        return self.blocks is not None and self.blocks[1] > factor * self.blocks[0]

    def add_validation(self, signals: ValidationSignals) -> None:
        """Adds a validation."""
        if self.validations and self.validations[-1].step >= signals.step:
            self.forget_from(signals.step + 1, signals.step)
        self.validations.append(signals)
        self._rank(signals)

    def forget_from(self, step: int, validations_from: int | None = None) -> None:
        """Takes out what a killed attempt did after its last checkpoint."""
        self.first = [s for s in self.first if s.step < step]
        if self.peak[1] >= step:
            self.peak = max(((s.lr, s.step) for s in (*self.first, *self.newest) if s.step < step), default=(0.0, 0))
        for kept in (self.newest, self.gradients):
            old = [s for s in kept if s.step < step]
            kept.clear()
            kept.extend(old)
        begun = (step - 1) // self.window * self.window
        self.block = [s.loss for s in self.newest if s.step > begun]
        limit = step if validations_from is None else validations_from
        stay = [v for v in self.validations if v.step < limit]
        if len(stay) < len(self.validations):
            self.validations = deque(stay, maxlen=_VALIDATIONS)
            self.lowest = self.lowest if self.lowest and self.lowest.step < limit else None
            self.highest = self.highest if self.highest and self.highest.step < limit else None
            self.earliest = self.earliest if self.earliest and self.earliest.step < limit else None
            for validation in stay:
                self._rank(validation)

    def _rank(self, v: ValidationSignals) -> None:
        # Before anything is predicted YOLOv8's loss is low and says nothing; and nothing is lower than NaN.
        loss = v.val_loss if v.boxes is None or v.boxes.predicted > 0 else None
        if loss is not None and math.isfinite(loss) and (self.lowest is None or loss < self.lowest.value):
            self.lowest = Best(v.step, loss, v.loss)
        if v.val_map50 is not None and (self.highest is None or v.val_map50 > self.highest.value):
            self.highest = Best(v.step, v.val_map50, v.loss)
        if v.val_map50 is not None and self.earliest is None:
            self.earliest = Best(v.step, v.val_map50, v.loss)

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        rows = {name: [list(asdict(s).values()) for s in getattr(self, name)] for name in _STEPS}
        return {
            **rows,
            "peak": list(self.peak),
            "blocks": list(self.blocks) if self.blocks else None,
            "block": list(self.block),
            "validations": [asdict(v) for v in self.validations],
            "lowest": asdict(self.lowest) if self.lowest else None,
            "highest": asdict(self.highest) if self.highest else None,
            "earliest": asdict(self.earliest) if self.earliest else None,
        }

    def restore(self, stored: dict[str, Any]) -> None:
        """Takes over what `to_dict` gave.

        Raises:
            (KeyError, TypeError, ValueError): it is of another form.
        """
        first, newest, gradients = (_steps(stored[name]) for name in _STEPS)
        validations = [_validation(row) for row in stored["validations"]]
        self.peak = (float(stored["peak"][0]), int(stored["peak"][1]))
        self.blocks = (float(stored["blocks"][0]), float(stored["blocks"][1])) if stored["blocks"] else None
        self.block = [float(loss) for loss in stored["block"]]
        self.first = first[: self.window]
        for kept, rows in ((self.newest, newest), (self.gradients, gradients)):
            kept.clear()
            kept.extend(rows)
        self.validations = deque(validations, maxlen=_VALIDATIONS)
        best = [Best(**b) if b else None for b in (stored["lowest"], stored["highest"], stored["earliest"])]
        self.lowest, self.highest, self.earliest = best


_STEPS = ("first", "newest", "gradients")


def _steps(rows: Iterable[list[Any]]) -> list[StepSignals]:
    return [StepSignals(*row) for row in rows]


def _validation(row: dict[str, Any]) -> ValidationSignals:
    boxes = row["boxes"]
    if boxes is not None:
        values = {f.name: boxes[f.name] for f in fields(BoxSignals)}
        boxes = BoxSignals(**values | {n: tuple(values[n]) for n in ("truths", "best")})
    return ValidationSignals(**{**row, "boxes": boxes})
