"""The training loop of Faster R-CNN. Imports torch: import it late."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch.optim.swa_utils import AveragedModel

from carsdepo_assets.detectors.augmentation import Augmentation, augment, to_square
from carsdepo_assets.detectors.base import Interrupted, Progress, Recipe, Report, TrainingImage, TrainingSet, Watch
from carsdepo_assets.detectors.checkpoints import CHECKPOINT_FORMAT, DetectorError, threads, write_torch
from carsdepo_assets.detectors.clock import ClockDecisions
from carsdepo_assets.detectors.faster_rcnn.model import STRIDE
from carsdepo_assets.detectors.pace import CHECKPOINT_EVERY_S, CHECKPOINT_SHARE, TELL_EVERY_S, Every, Pace
from carsdepo_assets.imaging.resize import NetworkInput
from carsdepo_assets.scoring.average_precision import coco_ap
from carsdepo_assets.scoring.boxes import Truth
from carsdepo_assets.scoring.matching import flatten

WARMUP_STEPS = 40
LAST_LR = 0.01  # of the recipe's, at the end of the cosine
MAX_GRADIENT = 5.0


class Options(BaseModel):
    """What recipe.extra may hold for this detector."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    threads: int | None = Field(None, ge=1, description="CPU threads; default: all that the process may use")
    ema: float = Field(0.99, ge=0, lt=1, description="decay of the averaged weights per step; 0: none")
    val_images: int = Field(64, ge=1, description="images of val scored after an epoch")
    crop: float = Field(0.5, ge=0, le=1)
    flip: float = Field(0.5, ge=0, le=1)
    gain: float = Field(0.25, ge=0, lt=1)
    backbone_lr: float = Field(1.0, gt=0, description="the backbone's learning rate as a share of the recipe's")


def options(recipe: Recipe) -> Options:
    """Reads recipe.extra. Raises DetectorError, which names the key, where it does not fit."""
    try:
        return Options.model_validate(recipe.extra)
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise DetectorError(
            f"recipe.extra of faster_rcnn: {wrong}. Known: {', '.join(Options.model_fields)}."
        ) from error


def read_rgb(image: TrainingImage) -> NDArray[np.uint8]:
    """Reads an image, HxWx3 RGB. Raises DetectorError where the file is no image or not of the expected size."""
    bgr = cv2.imread(str(image.path), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    if bgr is None:
        raise DetectorError(f"{image.path}: cannot be read as an image.")
    if bgr.shape[:2] != (image.height, image.width):
        raise DetectorError(
            f"{image.path}: {bgr.shape[1]}x{bgr.shape[0]} pixels, the set says {image.width}x{image.height}."
        )
    return np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB))


def learning_rate(progress: float, step: int, warmup: int) -> float:
    """The learning rate as a share of the recipe's: a linear warm-up, then a cosine from 1 down to LAST_LR.

    Args:
        progress: Share of the training that is done, of 1.
        step: Optimizer steps that were taken.
        warmup: Optimizer steps of the warm-up.
    """
    cosine = LAST_LR + (1 - LAST_LR) * (1 + math.cos(math.pi * progress)) / 2
    return cosine * min(1.0, (step + 1) / warmup)


class Training:
    """One training: `run` continues from where it stands to its end; `averaged_weights` are then the ones to keep."""

    def __init__(
        self,
        model: Any,
        data: TrainingSet,
        recipe: Recipe,
        checkpoint: Path,
        mark: str,
        pace: Pace,
        report: Report,
        watch: Watch,
        frozen_norms: bool,
    ) -> None:
        self.options = options(recipe)
        self.recipe, self.checkpoint, self.mark, self.report, self.watch = recipe, checkpoint, mark, report, watch
        self.train_images = sorted(data.split("train"), key=lambda i: i.image_id)
        self.val_images = sorted(data.split("val"), key=lambda i: i.image_id)
        self.n_classes = len(data.class_names)
        if not 0 <= recipe.freeze <= 16:
            raise DetectorError(f"freeze {recipe.freeze}: the backbone has 16 blocks.")
        self.device = torch.device(recipe.device)
        if self.device.type == "cpu":
            torch.set_num_threads(threads(self.options.threads))
        # channels_last: 1.7 times as fast on a CPU, and what tensor cores want on a GPU.
        self.model = model.to(self.device).to(memory_format=torch.channels_last)
        self.model.backbone.set_frozen(frozen_norms, recipe.freeze)
        trained = [(n, p) for n, p in self.model.named_parameters() if p.requires_grad]
        body = [p for n, p in trained if n.startswith(("backbone.stem", "backbone.blocks"))]
        rest = [p for n, p in trained if not n.startswith(("backbone.stem", "backbone.blocks"))]
        self.optimizer = torch.optim.AdamW(
            [{"params": body, "share": self.options.backbone_lr}, {"params": rest, "share": 1.0}],
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
        self.telling = Every(TELL_EVERY_S, at_once=True)
        self.saving = Every(CHECKPOINT_EVERY_S, CHECKPOINT_SHARE)
        self.augmentation = Augmentation(flip=self.options.flip, crop=self.options.crop, gain=self.options.gain)

    def restore(self, checkpoint: dict[str, Any]) -> None:
        """Takes up the state after the checkpoint's last step."""
        self.model.load_state_dict(checkpoint["model"])
        self.optimizer.load_state_dict(checkpoint["optimizer"])
        self.average.module.load_state_dict(checkpoint["average"])
        self.average.n_averaged.fill_(1 + checkpoint["steps"])
        self.history, self.epoch, self.batches = list(checkpoint["history"]), checkpoint["epoch"], checkpoint["batches"]
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
        self.model.backbone.fuse_frozen()
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
            if self.val_images:
                self._tell(validating=True)
                with self.pace.validating():
                    row["val_map50"] = self.val_map50()
                row["seconds"] = self.pace.spent()
            self.finished = by_plan or self.pace.over()
            self.batches, self.sums = 0, {}
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

    def _sample(
        self, image: TrainingImage, random: np.random.Generator
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        rgb, xyxy, classes = augment(
            read_rgb(image), image.xyxy.reshape(-1, 4), image.classes, self.augmentation, random
        )
        square, boxes = to_square(rgb, xyxy, self.recipe.image_size)
        wide = (boxes[:, 2:] - boxes[:, :2] >= 1).all(axis=1)  # torchvision refuses boxes without area
        tensor = torch.from_numpy(np.ascontiguousarray(square.transpose(2, 0, 1))).to(self.device).float() / 255
        return tensor, {
            "boxes": torch.as_tensor(boxes[wide], dtype=torch.float32, device=self.device).reshape(-1, 4),
            "labels": torch.as_tensor(classes[wide] + 1, dtype=torch.int64, device=self.device),
        }

    def _epoch(self) -> None:
        """Steps to the end of the epoch, or to the training's."""
        self.model.train()
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
        """One optimizer step; whether it was the last. Its chance is of the seed, the epoch and the batch alone."""
        random = np.random.default_rng([self.recipe.seed, self.epoch, 1, self.batches])
        progress = self.pace.progress(self.epoch + self.batches / self.n_batches)
        share = learning_rate(progress, self.pace.taken, self.warmup)
        for group in self.optimizer.param_groups:
            group["lr"] = self.recipe.lr * share * group["share"]
        samples = [self._sample(image, random) for image in self._batch(self.batches)]
        losses = self.model([s[0] for s in samples], [s[1] for s in samples])
        total = sum(losses.values(), torch.zeros((), device=self.device))
        if not bool(torch.isfinite(total)):
            raise DetectorError(
                f"training diverged in epoch {self.epoch + 1}: the loss is {total.item()}. Lower the lr."
            )
        self.optimizer.zero_grad()
        total.backward()
        torch.nn.utils.clip_grad_norm_((p for g in self.optimizer.param_groups for p in g["params"]), MAX_GRADIENT)
        self.optimizer.step()
        last = self.pace.step()
        self.average.update_parameters(self.model)
        for name, value in {**losses, "total": total}.items():
            self.sums[name] = self.sums.get(name, 0.0) + float(value.detach())
        return last

    def _blend(self, averages: list[torch.Tensor], values: list[torch.Tensor], steps: torch.Tensor | int) -> None:
        """Exponential moving average, its decay rising to the option's so that early weights are forgotten."""
        n = int(steps)
        decay = min(self.options.ema, n / (n + 10)) if self.options.ema else 0.0
        for average, value in zip(averages, values, strict=True):
            if value.is_floating_point():
                average.lerp_(value, 1 - decay)
            else:
                average.copy_(value)

    def val_map50(self) -> float:
        """COCO mAP@.5 of the averaged weights on evenly spaced val images; 0 where those hold no box."""
        from carsdepo_assets.detectors.faster_rcnn.predictor import FasterRcnnPredictor

        pick = np.unique(np.linspace(0, len(self.val_images) - 1, self.options.val_images).astype(int))
        chosen = [self.val_images[i] for i in pick]
        network = NetworkInput(self.recipe.image_size, STRIDE)
        predictor = FasterRcnnPredictor(self.average.module.eval(), network, str(self.device))
        detections = [predictor.predict([read_rgb(image)])[0] for image in chosen]
        flat = flatten([Truth(i.xyxy.reshape(-1, 4), i.classes) for i in chosen], detections, self.n_classes)
        ap = coco_ap(flat, [(i.width, i.height) for i in chosen], 100)[0]
        return float(np.nanmean(ap)) if np.isfinite(ap).any() else 0.0
