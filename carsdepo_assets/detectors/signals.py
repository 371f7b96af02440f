"""What a training loop tells about itself while it trains, so that faults of a training can be named.

A loop holds a `Meter` and calls it at four places of a step: before it asks for a batch (`waiting`), when the batch is
there (`computing`), after the backward pass and before gradients are clipped (`gradients`), and after the optimizer's
step (`stepped`); after a validation it calls `validated`. Whoever listens may end the training by raising an exception,
which the loop lets pass.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from carsdepo_assets.scoring.boxes import Detections, Truth

BOX_SCORE = 0.1  # score from which a predicted box counts: below it an untrained model gives boxes everywhere
_MOST_BOXES = 10_000  # boxes whose spread is measured, of one validation


@dataclass(frozen=True)
class StepSignals:
    """One optimizer step."""

    step: int
    """Its number, from 1, over all attempts."""
    loss: float
    """Of its batch, per photograph where the family counts so."""
    lr: float
    """The largest learning rate of the weights (biases may warm up by another)."""
    gradient_norm: float | None
    """Euclidean norm of all gradients before they are clipped; None: not measured at this step."""
    dead_share: float | None
    """Share of the trained tensors whose gradient is zero everywhere; None: not measured at this step."""
    loader_s: float
    """Seconds that the step waited for its photographs."""
    compute_s: float
    """Seconds of the forward pass, the backward pass and the update."""
    loss_may_rise: bool = False
    """Whether the loss of a healthy training may rise: YOLOv8's is divided by how well boxes fit, or by 1 if that is
    more, so that it begins near zero where few boxes are labelled."""


@dataclass(frozen=True)
class BoxSignals:
    """The boxes that the model predicts on validation photographs, beside those that are labelled there."""

    truths: tuple[int, ...]
    """Labelled boxes of each class."""
    best: tuple[float, ...]
    """The highest score of each class; 0 where it is never predicted."""
    predicted: int
    """Photographs with a predicted box whose score is at least BOX_SCORE; of each the surest is looked at below."""
    spread: float | None
    """How much the surest boxes differ: the mean standard deviation of centre, width and height as shares of the
    photograph; None: fewer than two."""
    true_spread: float | None
    """The same of the labelled boxes."""
    area_ratio: float | None
    """Median area of the surest boxes over that of the labelled ones; None: one of them is missing."""


@dataclass(frozen=True)
class ValidationSignals:
    """One validation."""

    step: int
    """Optimizer steps that were taken before it."""
    planned_steps: int
    """Optimizer steps of the whole training, as far as could be told then."""
    loss: float
    """Mean training loss of the epoch before it."""
    val_loss: float | None
    """The same loss on validation photographs; None where the family does not measure it."""
    val_map50: float | None
    """mAP@.5 on validation photographs; None where there are none."""
    boxes: BoxSignals | None
    """None where no photographs were predicted."""


class Listener(Protocol):
    """Who is told. Each method may raise an exception to end the training."""

    gradients_every: int
    """Gradients are measured once in so many steps; 0: never."""

    def stepped(self, signals: StepSignals) -> None:
        """Takes the signals of a step."""
        ...

    def validated(self, signals: ValidationSignals) -> None:
        """Takes the signals of a validation."""
        ...


class Unheard:
    """Nobody listens: nothing is measured."""

    gradients_every = 0

    def stepped(self, signals: StepSignals) -> None:
        """Does nothing."""

    def validated(self, signals: ValidationSignals) -> None:
        """Does nothing."""


UNHEARD = Unheard()


class Meter:
    """Measures the steps of one training loop and tells the listener.

    Args:
        listener: who is told.
        loss_may_rise: see StepSignals.
        clock: gives seconds; tests give their own.
    """

    def __init__(
        self, listener: Listener, *, loss_may_rise: bool = False, clock: Callable[[], float] = perf_counter
    ) -> None:
        self.listener, self.loss_may_rise, self.clock = listener, loss_may_rise, clock
        self._loader_s = self._compute_s = 0.0
        self._mark = clock()
        self._seen = 0  # steps whose gradients were looked at or passed over
        self._last = -1
        self._norm: float | None = None
        self._dead: float | None = None

    def waiting(self) -> None:
        """The loop asks for a batch."""
        self._mark = self.clock()

    def computing(self) -> None:
        """The batch is there."""
        now = self.clock()
        self._loader_s += now - self._mark
        self._mark = now

    def gradients(self, parameters: Iterable[Any], scale: float = 1.0) -> None:
        """The backward pass is done, and nothing is clipped yet.

        Args:
            parameters: torch parameters; those that are not trained are passed over.
            scale: by which a mixed-precision scaler has multiplied the gradients.
        """
        every = self.listener.gradients_every
        if every and self._seen % every == 0:
            norm, self._dead = gradient_state(parameters)
            self._norm = norm / scale
        self._seen += 1

    def stepped(self, step: int, loss: float, lr: float) -> None:
        """The optimizer's step is done, or the loss is no number; a batch without a step of its own only adds time."""
        now = self.clock()
        self._compute_s += now - self._mark
        self._mark = now
        if step == self._last and math.isfinite(loss):
            return
        seconds = (self._loader_s, self._compute_s)
        signals = StepSignals(step, loss, lr, self._norm, self._dead, *seconds, self.loss_may_rise)
        self._last, self._loader_s, self._compute_s, self._norm, self._dead = step, 0.0, 0.0, None, None
        self.listener.stepped(signals)

    def validated(self, row: Mapping[str, float], boxes: BoxSignals | None) -> None:
        """A validation is done; row: what the loop reports of the epoch."""
        self.listener.validated(
            ValidationSignals(
                int(row["steps"]),
                int(row["planned_steps"]),
                row["loss"],
                row.get("val_loss"),
                row.get("val_map50"),
                boxes,
            )
        )


def gradient_state(parameters: Iterable[Any]) -> tuple[float, float]:
    """(Euclidean norm of all gradients, share of tensors whose gradient is zero) of what is trained.

    A tensor without a gradient counts as one whose gradient is zero: nothing that it does reaches the loss.
    """
    import torch

    trained = [p for p in parameters if p.requires_grad]
    given = [p.grad.detach() for p in trained if p.grad is not None]
    if not given:
        return 0.0, 1.0 if trained else 0.0
    norms = torch.stack(torch._foreach_norm(given)).float().cpu().numpy().astype(np.float64)
    dead = len(trained) - len(given) + int((norms == 0).sum())
    return float(np.sqrt(np.square(norms).sum())), dead / len(trained)


class BoxMeter:
    """Gathers the boxes of one validation, photograph by photograph."""

    def __init__(self, n_classes: int) -> None:
        self.truths, self.best = np.zeros(n_classes, np.int64), np.zeros(n_classes)
        self.predicted = 0
        self._true: list[NDArray[np.float64]] = []
        self._given: list[NDArray[np.float64]] = []
        self._kept = 0

    def add(self, truth: Truth, predicted: Detections, size: tuple[int, int]) -> None:
        """Adds a photograph; size: width and height of the frame that its boxes are in."""
        np.add.at(self.truths, np.asarray(truth.classes, np.int64), 1)
        np.maximum.at(self.best, predicted.classes, predicted.scores)
        surest = predicted.xyxy[np.argsort(-predicted.scores, kind="stable")[:1]]
        if predicted.scores.max(initial=0.0) < BOX_SCORE:
            surest = surest[:0]
        self.predicted += len(surest)
        if self._kept < _MOST_BOXES:
            self._true.append(_shares(truth.xyxy, size))
            self._given.append(_shares(surest, size))
            self._kept += len(self._true[-1]) + len(self._given[-1])

    def signals(self) -> BoxSignals:
        """What was gathered."""
        true, given = (np.concatenate([np.zeros((0, 4)), *rows]) for rows in (self._true, self._given))
        area = float(np.median(np.prod(true[:, 2:], axis=1))) if len(true) else 0.0
        ratio = float(np.median(np.prod(given[:, 2:], axis=1))) / area if len(given) and area > 0 else None
        return BoxSignals(
            tuple(self.truths.tolist()),
            tuple(self.best.tolist()),
            self.predicted,
            _spread(given),
            _spread(true),
            ratio,
        )


def box_signals(
    truths: Sequence[Truth], detections: Sequence[Detections], sizes: Sequence[tuple[int, int]], n_classes: int
) -> BoxSignals:
    """The boxes of a validation; sizes: width and height of its images, in whose pixels the boxes are."""
    meter = BoxMeter(n_classes)
    for truth, predicted, size in zip(truths, detections, sizes, strict=True):
        meter.add(truth, predicted, size)
    return meter.signals()


def _shares(xyxy: NDArray[Any], size: tuple[int, int]) -> NDArray[np.float64]:
    """Centre, width and height as shares of the frame."""
    boxes = np.asarray(xyxy, np.float64).reshape(-1, 4) / np.array([*size, *size])
    return np.concatenate([(boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]], axis=1)


def _spread(boxes: NDArray[np.float64]) -> float | None:
    return float(boxes.std(axis=0).mean()) if len(boxes) > 1 else None
