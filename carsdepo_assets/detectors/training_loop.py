"""The training loop that families share: plan, steps, checkpoints, validation, reports. Imports torch: import it late.

A family derives `TrainingLoop` and says how the loss of a batch comes about and how its model predicts. YOLOv8 trains
by ultralytics' loop instead, with the same plan, checkpoints and reports.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch.optim.swa_utils import AveragedModel

from carsdepo_assets.detectors.base import (
    Interrupted,
    Predictor,
    Progress,
    Recipe,
    Report,
    TrainingImage,
    TrainingSet,
    Watch,
)
from carsdepo_assets.detectors.checkpoints import CHECKPOINT_FORMAT, DetectorError, threads, write_torch
from carsdepo_assets.detectors.clock import ClockDecisions
from carsdepo_assets.detectors.former_augmentation import FormerAugmentation
from carsdepo_assets.detectors.pace import CHECKPOINT_EVERY_S, CHECKPOINT_SHARE, TELL_EVERY_S, Every, Pace
from carsdepo_assets.detectors.recipe_options import LoopOptions
from carsdepo_assets.detectors.signals import UNHEARD, BoxSignals, Listener, Meter, box_signals
from carsdepo_assets.detectors.training_samples import Sample, Variation, former_sample, read_rgb, whole
from carsdepo_assets.scoring.average_precision import coco_ap
from carsdepo_assets.scoring.boxes import Truth
from carsdepo_assets.scoring.matching import flatten

WARMUP_STEPS = 40
LAST_LR = 0.01  # of the recipe's, at the end of the cosine
MAX_GRADIENT = 5.0
VAL_LOSSES = 16  # images of val whose loss is measured after an epoch: each costs a forward pass


def learning_rate(progress: float, step: int, warmup: int) -> float:
    """The learning rate as a share of the recipe's: a linear warm-up, then a cosine from 1 down to LAST_LR.

    Args:
        progress: Share of the training that is done, of 1.
        step: Optimizer steps that were taken.
        warmup: Optimizer steps of the warm-up.
    """
    cosine = LAST_LR + (1 - LAST_LR) * (1 + math.cos(math.pi * progress)) / 2
    return cosine * min(1.0, (step + 1) / warmup)


class TrainingLoop(ABC):
    """One training: `run` continues from where it stands to its end; `averaged_weights` are then the ones to keep."""

    max_gradient: ClassVar[float] = MAX_GRADIENT
    """Largest norm of the gradient; longer ones are shortened to it."""

    def __init__(
        self,
        model: Any,
        data: TrainingSet,
        recipe: Recipe,
        options: LoopOptions,
        *,
        checkpoint: Path,
        mark: str,
        pace: Pace,
        report: Report,
        watch: Watch,
        signals: Listener = UNHEARD,
    ) -> None:
        self.options = options
        self.recipe, self.checkpoint, self.mark, self.report, self.watch = recipe, checkpoint, mark, report, watch
        self.train_images = sorted(data.split("train"), key=lambda i: i.image_id)
        self.val_images = sorted(data.split("val"), key=lambda i: i.image_id)
        self.n_classes = len(data.class_names)
        self.device = torch.device(recipe.device)
        if self.device.type == "cpu":
            torch.set_num_threads(threads(self.options.threads))
        # channels_last: 1.7 times as fast on a CPU, and what tensor cores want on a GPU.
        self.model = model.to(self.device).to(memory_format=torch.channels_last)
        self.kept_norms: list[torch.nn.Module] = []
        self.freeze(recipe)
        trained = [(n, p) for n, p in self.model.named_parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(
            [
                {"params": [p for n, p in trained if self.is_backbone(n)], "share": self.options.backbone_lr},
                {"params": [p for n, p in trained if not self.is_backbone(n)], "share": 1.0},
            ],
            lr=recipe.lr,
            weight_decay=recipe.weight_decay,
        )
        self.average = AveragedModel(self.model, multi_avg_fn=self._blend, use_buffers=True)
        self.average.n_averaged.fill_(1)  # the initial weights count as the first
        self.history: list[dict[str, float]] = []
        self.n_batches = math.ceil(len(self.train_images) / recipe.batch)
        self.pace = pace
        self.planned = recipe.epochs if recipe.steps is None else math.ceil(recipe.steps / self.n_batches)
        self.warmup = min(WARMUP_STEPS, max(1, pace.planned_steps(self.planned, self.n_batches) // 10))
        self.finished = False
        # Of the epoch under way: its number from 0, batches behind, and the losses' sums over them.
        self.epoch, self.batches = 0, 0
        self.sums: dict[str, float] = {}
        self.meter = Meter(signals)
        self.boxes: BoxSignals | None = None  # of the newest validation
        self.telling = Every(TELL_EVERY_S, at_once=True)
        self.saving = Every(CHECKPOINT_EVERY_S, CHECKPOINT_SHARE)
        self.dropped = 0  # boxes that augmentation left too little of, in the epoch under way
        declared = recipe.augmentation
        self.variation = (
            None
            if declared is None
            else Variation(self.train_images, recipe.image_size, declared, recipe.seed, self.device)
        )
        self.former = FormerAugmentation(flip=self.options.flip, crop=self.options.crop, gain=self.options.gain)

    @abstractmethod
    def freeze(self, recipe: Recipe) -> None:
        """Switches off the gradients of the layers that the recipe keeps as they are.

        Raises:
            DetectorError: The network has fewer layers than recipe.freeze says.
        """

    def keep_norms(self, part: torch.nn.Module) -> None:
        """Keeps statistics and scales of a part's batch norms as they are: a small batch cannot estimate them."""
        for module in part.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.requires_grad_(False)
                self.kept_norms.append(module)

    @abstractmethod
    def is_backbone(self, parameter: str) -> bool:
        """Whether a parameter, by its name, is of the part that learns at `options.backbone_lr`."""

    @abstractmethod
    def losses(self, batch: Sequence[Sample]) -> tuple[torch.Tensor, Mapping[str, torch.Tensor]]:
        """(the loss whose gradient is taken, its parts by the names under which they are reported)."""

    def val_loss(self, model: Any, samples: Iterable[Sample]) -> float | None:
        """The mean loss of images of val on a copy of the model, to see over-fitting; None: the family has no such.

        The images are read as they are asked for.
        """
        return None

    @abstractmethod
    def predictor(self, model: Any) -> Predictor:
        """The predictor of a copy of the model, for validation."""

    def restore(self, checkpoint: dict[str, Any]) -> None:
        """Takes up the state after the checkpoint's last step."""
        self.model.load_state_dict(checkpoint["model"])
        self.optimizer.load_state_dict(checkpoint["optimizer"])
        self.average.module.load_state_dict(checkpoint["average"])
        self.average.n_averaged.fill_(1 + checkpoint["steps"])
        self.history, self.epoch, self.batches = list(checkpoint["history"]), checkpoint["epoch"], checkpoint["batches"]
        self.dropped = checkpoint.get("dropped", 0)
        self.sums, self.finished, self.planned = dict(checkpoint["sums"]), checkpoint["finished"], checkpoint["planned"]
        self.pace.taken = checkpoint["steps"]
        self.pace.spent_before += checkpoint["seconds"]
        self.pace.clock = ClockDecisions.of_state(checkpoint.get("clock"))
        torch.set_rng_state(checkpoint["torch_random"])

    def averaged_weights(self) -> dict[str, Any]:
        """The weights to keep, by their names in the model."""
        return dict(self.average.module.state_dict())

    def planned_steps(self) -> int:
        """Optimizer steps of the whole training, as far as can be told now."""
        return self.pace.planned_steps(self.planned, self.n_batches)

    def run(self) -> None:
        """Epochs until the plan is done or the minutes are over; after each: plan, report, checkpoint."""
        while not self.finished:
            self._epoch()
            ended = self.batches == self.n_batches  # by itself, not by the clock
            loss = {k: v / self.batches for k, v in self.sums.items()}
            self.epoch += 1
            if ended:
                self.planned = self.pace.planned(self.epoch)
            by_plan = ended and self.epoch >= self.planned if self.pace.steps is None else self.pace.complete()
            row = {
                "epoch": float(self.epoch),
                "steps": float(self.pace.taken),
                "planned_steps": float(self.planned_steps()),
                "seconds": self.pace.spent(),
                "loss": loss["total"],
                **{k: v for k, v in loss.items() if k != "total"},
                "lr": float(self.optimizer.param_groups[1]["lr"]),
                "epochs_planned": float(self.planned),
            }
            if self.variation is not None:
                row["boxes_dropped"] = float(self.dropped)
            if self.val_images:
                self._tell(validating=True)
                with self.pace.validating():
                    measured = {"val_map50": self.val_map50(), "val_loss": self._measured_val_loss()}
                row |= {name: value for name, value in measured.items() if value is not None}
                row["seconds"] = self.pace.spent()
                self.meter.validated(row, self.boxes)
            self.finished = by_plan or self.pace.over()
            self.batches, self.sums, self.dropped = 0, {}, 0
            self.report(row)
            self.history.append(row)
            with self.saving.timed():
                self._checkpoint()

    def _checkpoint(self) -> None:
        write_torch(
            self.checkpoint,
            {
                "format": CHECKPOINT_FORMAT,
                "fingerprint": self.mark,
                "epoch": self.epoch,
                "batches": self.batches,
                "sums": self.sums,
                "dropped": self.dropped,
                "steps": self.pace.taken,
                "planned": self.planned,
                "finished": self.finished,
                "seconds": self.pace.spent(),
                "clock": self.pace.clock.state(),
                "history": self.history,
                "model": self.model.state_dict(),
                "average": self.averaged_weights(),
                "optimizer": self.optimizer.state_dict(),
                "torch_random": torch.get_rng_state(),
            },
        )

    def _tell(self, validating: bool = False) -> None:
        planned = self.planned_steps()
        loss = self.sums["total"] / self.batches if self.batches else None
        epoch = self.epoch if validating else self.epoch + 1
        left = self.pace.seconds_left(planned)
        expected = self.pace.expected_steps(planned)
        self.watch(Progress(epoch, self.pace.taken, expected, self.pace.spent(), left, loss, validating))

    def _batch(self, number: int) -> list[TrainingImage]:
        """Images of the epoch's batch `number`."""
        order = np.random.default_rng([self.recipe.seed, self.epoch]).permutation(len(self.train_images))
        chosen = order[number * self.recipe.batch : (number + 1) * self.recipe.batch]
        return [self.train_images[i] for i in chosen]

    def _epoch(self) -> None:
        """Steps to the end of the epoch, or to the training's."""
        self.model.train()
        for norm in self.kept_norms:
            norm.eval()
        while self.batches < self.n_batches:
            last = self._step()
            self.batches += 1
            inside = not last and self.batches < self.n_batches  # the epoch's end writes its own checkpoint
            if self.telling.due():
                try:
                    self._tell()
                except Interrupted:
                    if inside:
                        self._checkpoint()
                        raise
            if last:
                return
            if inside and self.saving.due():
                with self.saving.timed():
                    self._checkpoint()

    def _step(self) -> bool:
        """One optimizer step; whether it was the last."""
        progress = self.pace.progress(self.epoch + self.batches / self.n_batches)
        share = learning_rate(progress, self.pace.taken, self.warmup)
        for group in self.optimizer.param_groups:
            group["lr"] = self.recipe.lr * share * group["share"]
        self.meter.waiting()
        batch = self._samples()
        self.dropped += sum(s.dropped for s in batch)
        self.meter.computing()
        total, parts = self.losses(batch)
        if not bool(torch.isfinite(total)):
            self.meter.stepped(self.pace.taken + 1, total.item(), self.recipe.lr * share)
            raise DetectorError(
                f"training diverged in epoch {self.epoch + 1}: the loss is {total.item()}. Lower the lr."
            )
        self.optimizer.zero_grad()
        total.backward()
        self.meter.gradients(p for g in self.optimizer.param_groups for p in g["params"])
        torch.nn.utils.clip_grad_norm_((p for g in self.optimizer.param_groups for p in g["params"]), self.max_gradient)
        self.optimizer.step()
        last = self.pace.step()
        self.average.update_parameters(self.model)
        for name, value in {**parts, "total": total}.items():
            self.sums[name] = self.sums.get(name, 0.0) + float(value.detach())
        self.meter.stepped(self.pace.taken, total.item(), self.recipe.lr * share)
        return last

    def _samples(self) -> list[Sample]:
        """The batch's images, varied: by a chance of the seed, the epoch and the image, or of the batch formerly."""
        images = self._batch(self.batches)
        if self.variation is not None:
            return [self.variation.sample(image, self.epoch) for image in images]
        random = np.random.default_rng([self.recipe.seed, self.epoch, 1, self.batches])
        return [former_sample(i, self.recipe.image_size, self.former, random, self.device) for i in images]

    def _blend(self, averages: list[torch.Tensor], values: list[torch.Tensor], steps: torch.Tensor | int) -> None:
        """Exponential moving average, its decay rising to the option's so that early weights are forgotten."""
        n = int(steps)
        decay = min(self.options.ema, n / (n + 10)) if self.options.ema else 0.0
        for average, value in zip(averages, values, strict=True):
            if value.is_floating_point():
                average.lerp_(value, 1 - decay)
            else:
                average.copy_(value)

    def _some_val(self, most: int) -> list[TrainingImage]:
        """Evenly spaced images of val."""
        return [self.val_images[i] for i in np.unique(np.linspace(0, len(self.val_images) - 1, most).astype(int))]

    def _measured_val_loss(self) -> float | None:
        chosen = self._some_val(VAL_LOSSES)
        return self.val_loss(self.average.module, (whole(i, self.recipe.image_size, self.device) for i in chosen))

    def val_map50(self) -> float | None:
        """COCO mAP@.5 of the averaged weights on evenly spaced val images; None where those hold no box."""
        chosen = self._some_val(self.options.val_images)
        predictor = self.predictor(self.average.module.eval())
        detections = [predictor.predict([read_rgb(image)])[0] for image in chosen]
        truths = [Truth(i.xyxy.reshape(-1, 4), i.classes) for i in chosen]
        sizes = [(i.width, i.height) for i in chosen]
        self.boxes = box_signals(truths, detections, sizes, self.n_classes)
        ap = coco_ap(flatten(truths, detections, self.n_classes), sizes, 100)[0]
        return float(np.nanmean(ap)) if np.isfinite(ap).any() else None
