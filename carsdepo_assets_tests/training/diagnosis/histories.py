"""Records of trainings as tables of numbers: healthy ones, and what to change for each fault."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from carsdepo_assets.detectors.signals import BoxSignals, StepSignals, ValidationSignals

BOXES = BoxSignals((20, 14), (0.82, 0.74), 41, 0.14, 0.16, 0.9)


@dataclass(frozen=True)
class History:
    """A training: its losses fall from `loss` to a share of it, with noise, as those of the families do."""

    loss: float = 15.0
    falls_to: float = 0.25
    noise: float = 0.15
    lr: float = 1e-3
    norm: float = 80.0
    dead: float = 0.04
    loader_s: float = 0.05
    compute_s: float = 0.4
    val_loss: tuple[float, float, float] | None = (1.1, 0.35, 0.4)
    """At its start, at its lowest and at its end, as shares of `loss`; None: not measured."""
    val_map50: tuple[float, float, float] | None = (0.0, 0.6, 0.55)
    boxes: BoxSignals | None = BOXES
    steps: int = 400
    every: int = 20
    """Steps between two validations."""
    seed: int = 0
    loss_may_rise: bool = False

    def signals(self) -> Iterator[StepSignals | ValidationSignals]:
        random = np.random.default_rng(self.seed)
        for step in range(1, self.steps + 1):
            done = step / self.steps
            mean = self.loss * (self.falls_to + (1 - self.falls_to) * math.exp(-5 * done))
            loss = float(mean * random.lognormal(0, self.noise))
            lr = self.lr * min(1.0, step / 40) * (0.01 + 0.99 * (1 + math.cos(math.pi * done)) / 2)
            norm = None if step % 10 != 1 else float(self.norm * random.lognormal(0, 0.5))
            dead = None if norm is None else self.dead
            yield StepSignals(step, loss, lr, norm, dead, self.loader_s, self.compute_s, self.loss_may_rise)
            if step % self.every == 0:
                yield ValidationSignals(
                    step,
                    self.steps,
                    mean,
                    None if self.val_loss is None else self.loss * _through(self.val_loss, done),
                    None if self.val_map50 is None else _through(self.val_map50, done),
                    self.boxes,
                )


def _through(points: tuple[float, float, float], done: float) -> float:
    return float(np.interp(done, [0.0, 0.5, 1.0], points))


_RANDOM = np.random.default_rng(7)
# Forty healthy trainings: both families' losses, sizes, lengths and noise, with and without val, warm and from scratch.
HEALTHY = [
    History(
        loss=float(_RANDOM.choice([0.8, 2.5, 15.0, 30.0])),
        falls_to=float(_RANDOM.uniform(0.1, 0.6)),
        noise=float(_RANDOM.uniform(0.02, 0.3)),
        lr=float(_RANDOM.choice([1e-4, 1e-3, 1e-2])),
        norm=float(_RANDOM.choice([3.0, 80.0, 700.0])),
        loader_s=float(_RANDOM.uniform(0.0, 0.3)),
        val_loss=None if number % 4 == 0 else (1.1, 0.4, float(_RANDOM.uniform(0.35, 0.42))),
        val_map50=None if number % 8 == 0 else (0.0, 0.5, float(_RANDOM.uniform(0.45, 0.8))),
        boxes=None if number % 8 == 0 else BOXES,
        steps=int(_RANDOM.choice([12, 60, 150, 400, 900])),
        every=int(_RANDOM.choice([5, 40, 200])),
        seed=number,
    )
    for number in range(40)
]
# Of special shapes, all of them healthy.
HEALTHY += [
    History(falls_to=0.995, noise=0.05, val_map50=(0.6, 0.61, 0.6), val_loss=(0.9, 0.9, 0.9)),  # from a good champion
    History(val_map50=(0.3, 0.55, 0.48), val_loss=None),  # mAP on a small val goes up and down
    History(boxes=replace(BOXES, best=(0.04, 0.03), predicted=0, spread=None, area_ratio=None)),  # nothing is sure yet
    History(boxes=replace(BOXES, best=(0.8, 0.02))),  # dents are learnt later than scratches
    History(boxes=replace(BOXES, truths=(40, 1), best=(0.9, 0.001))),  # a single dent on val: it may be missed
    History(boxes=replace(BOXES, spread=0.0, true_spread=0.0)),  # the labelled boxes lie in one place, too
    History(val_loss=(1.1, 0.35, 0.37)),  # val stands still at the end
    History(loader_s=0.5, steps=30, every=10),  # it waits more than it computes, for a few seconds altogether
    History(falls_to=1.0, noise=0.3, steps=60),  # too short to say
    History(loss=0.12, falls_to=40.0, val_map50=(0.0, 0.0, 0.3), val_loss=None, loss_may_rise=True),  # few boxes
    History(falls_to=0.02, val_loss=(1.1, 0.6, 1.2), val_map50=(0.0, 0.3, 0.6)),  # val's loss rises, its mAP too
    History(
        val_loss=(0.02, 0.3, 0.4), loss_may_rise=True, boxes=replace(BOXES, best=(0.05, 0.04), predicted=0)
    ),  # YOLOv8's loss on val is low until it predicts
    History(falls_to=1.0, noise=0.05, loss_may_rise=True),  # and a good model above the floor
]


FAULTS: dict[str, list[History]] = {
    "diverged": [History(falls_to=100.0, steps=2000, val_map50=(0.0, 0.0, 0.0))],
    "loss_not_falling": [
        History(falls_to=1.0, noise=0.05, val_map50=(0.0, 0.0, 0.0)),
        History(falls_to=1.05, noise=0.05, val_map50=None, val_loss=None, boxes=None),
        History(falls_to=1.0, noise=0.05, val_map50=(0.0, 0.0, 0.0), loss_may_rise=True),
    ],
    "dead_gradients": [History(dead=0.8), History(norm=1e-9)],
    "exploding_gradients": [History(norm=1e6)],
    "lr_out_of_range": [History(lr=1e-9), History(lr=2.0)],
    "overfitting": [
        History(falls_to=0.02, val_loss=(1.1, 0.6, 1.2)),
        History(falls_to=0.02, val_loss=None, val_map50=(0.0, 0.6, 0.2)),
    ],
    "class_never_predicted": [History(boxes=replace(BOXES, best=(0.8, 0.004)))],
    "boxes_collapsed": [
        History(boxes=replace(BOXES, spread=0.004)),
        History(boxes=replace(BOXES, area_ratio=0.001)),
    ],
    "loader_starves": [History(loader_s=2.0), History(loader_s=1.0)],
}
