"""detectors/signals.py: what a loop measures of its steps, its gradients and its validations."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from carsdepo_assets.detectors.signals import (
    UNHEARD,
    Meter,
    StepSignals,
    ValidationSignals,
    box_signals,
    gradient_state,
)
from carsdepo_assets.scoring.boxes import Detections, Truth


class Ear:
    def __init__(self, every: int = 1) -> None:
        self.gradients_every = every
        self.steps: list[StepSignals] = []
        self.validations: list[ValidationSignals] = []

    def stepped(self, signals: StepSignals) -> None:
        self.steps.append(signals)

    def validated(self, signals: ValidationSignals) -> None:
        self.validations.append(signals)


def test_waiting_and_computing_are_told_apart() -> None:
    moments = iter([0.0, 10.0, 13.0, 14.0, 20.0, 21.0, 23.0])
    ear = Ear()
    meter = Meter(ear, clock=lambda: next(moments))
    for step in (1, 2):  # what lies between two steps (a validation, a checkpoint) counts for neither
        meter.waiting()
        meter.computing()
        meter.stepped(step, 2.0, 0.1)
    assert [(s.loader_s, s.compute_s) for s in ear.steps] == [(3.0, 1.0), (1.0, 2.0)]


def test_batches_of_one_optimizer_step_are_one_step() -> None:
    moments = iter(range(100))
    ear = Ear()
    meter = Meter(ear, clock=lambda: float(next(moments)))
    for step in (1, 1, 2, 2):
        meter.waiting()
        meter.computing()
        meter.stepped(step, 2.0, 0.1)
    assert [s.step for s in ear.steps] == [1, 2]
    assert sum(s.loader_s for s in ear.steps) == 3  # the last batch's time waits for its step
    meter.stepped(2, math.nan, 0.1)  # a loss that is no number is told at once
    assert math.isnan(ear.steps[-1].loss)


def test_gradients_are_measured_once_in_so_many_steps() -> None:
    layer = torch.nn.Linear(2, 1)
    ear = Ear(every=3)
    meter = Meter(ear)
    for step in range(1, 8):
        layer(torch.ones(1, 2)).sum().backward()
        meter.gradients(layer.parameters(), scale=2.0)
        layer.zero_grad()
        meter.stepped(step, 1.0, 0.1)
    assert [s.step for s in ear.steps if s.gradient_norm is not None] == [1, 4, 7]
    assert ear.steps[0].gradient_norm == pytest.approx(math.sqrt(3) / 2)


def test_nobody_listens_nothing_is_measured() -> None:
    def parameters() -> object:
        raise AssertionError("looked at")
        yield

    Meter(UNHEARD).gradients(parameters())  # type: ignore[arg-type]


def test_dead_tensors_are_those_that_nothing_moves() -> None:
    net = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.ReLU(), torch.nn.Linear(4, 1))
    torch.nn.init.constant_(net[0].bias, -100.0)  # its units give zero for every input
    net(torch.ones(2, 3)).sum().backward()
    norm, dead = gradient_state(net.parameters())
    assert (norm > 0, dead) == (True, 0.75)  # only the last bias gets a gradient
    assert gradient_state(p.requires_grad_(False) for p in net.parameters()) == (0.0, 0.0)
    assert gradient_state(torch.nn.Linear(2, 2).parameters()) == (0.0, 1.0)


def found(*rows: tuple[float, ...]) -> Detections:
    values = np.array(rows, float).reshape(-1, 6)
    return Detections(values[:, :4], values[:, 4], values[:, 5].astype(np.int64))


def test_the_boxes_of_a_validation() -> None:
    truths = [
        Truth(np.array([[0.0, 0, 10, 10]]), np.array([0])),
        Truth(np.array([[50.0, 50, 70, 70], [0, 0, 20, 20]]), np.array([0, 1])),
        Truth(np.zeros((0, 4)), np.zeros(0, np.int64)),
    ]
    sizes = [(100, 100), (100, 100), (200, 50)]
    same = (40.0, 40.0, 50.0, 50.0)
    seen = box_signals(
        truths, [found((*same, 0.9, 0)), found((*same, 0.5, 0), (0, 0, 9, 9, 0.05, 1)), found()], sizes, 3
    )
    assert (seen.truths, seen.best, seen.predicted) == ((2, 1, 0), (0.9, 0.05, 0.0), 2)
    assert seen.spread == 0.0
    assert seen.true_spread is not None
    assert seen.true_spread > 0.1
    assert seen.area_ratio == pytest.approx(0.01 / 0.04)
    nothing = box_signals(truths, [found()] * 3, sizes, 3)
    assert (nothing.predicted, nothing.spread, nothing.area_ratio) == (0, None, None)
    assert box_signals([], [], [], 2).truths == (0, 0)
