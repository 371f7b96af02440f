"""The training loop of Faster R-CNN. Imports torch: import it late."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from carsdepo_assets.detectors.augmentation import Augmentation, augment, to_square
from carsdepo_assets.detectors.base import Recipe, TrainingImage, TrainingSet
from carsdepo_assets.detectors.checkpoints import CHECKPOINT_FORMAT, DetectorError, Pace, threads, write_torch
from carsdepo_assets.scoring.average_precision import coco_ap
from carsdepo_assets.scoring.boxes import Truth
from carsdepo_assets.scoring.matching import flatten

WARMUP_STEPS = 40
LAST_LR = 0.01  # of the recipe's, at the end of the cosine
MAX_GRADIENT = 5.0


class Options(BaseModel):
    """What recipe.extra may hold."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    threads: int | None = Field(None, ge=1, description="CPU threads; default: all that the process may use")
    ema: float = Field(0.99, ge=0, lt=1, description="decay of the averaged weights per step; 0: none")
    val_images: int = Field(64, ge=1, description="images of val scored after an epoch")
    crop: float = Field(0.5, ge=0, le=1)
    flip: float = Field(0.5, ge=0, le=1)
    gain: float = Field(0.25, ge=0, lt=1)
    backbone_lr: float = Field(1.0, gt=0, description="the backbone's learning rate as a share of the recipe's")


def options(recipe: Recipe) -> Options:
    """Raises DetectorError naming the key of recipe.extra that does not fit."""
    try:
        return Options.model_validate(recipe.extra)
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise DetectorError(
            f"recipe.extra of faster_rcnn: {wrong}. Known: {', '.join(Options.model_fields)}."
        ) from error


def read_rgb(image: TrainingImage) -> np.ndarray:
    """HxWx3 uint8 RGB. Raises DetectorError when the file is no image or not of the size that its boxes are in."""
    bgr = cv2.imread(str(image.path), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    if bgr is None:
        raise DetectorError(f"{image.path}: cannot be read as an image.")
    if bgr.shape[:2] != (image.height, image.width):
        raise DetectorError(
            f"{image.path}: {bgr.shape[1]}x{bgr.shape[0]} pixels, the set says {image.width}x{image.height}."
        )
    return np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB))


def learning_rate(progress: float, step: int, warmup: int) -> float:
    """Share of the recipe's rate: linear warm-up over `warmup` steps, cosine from 1 to LAST_LR over progress 0..1."""
    cosine = LAST_LR + (1 - LAST_LR) * (1 + math.cos(math.pi * progress)) / 2
    return cosine * min(1.0, (step + 1) / warmup)


class Training:
    """One training: run() goes from where it stands to its end. `average`: the weights to keep."""

    def __init__(
        self,
        model: Any,
        data: TrainingSet,
        recipe: Recipe,
        checkpoint: Path,
        mark: str,
        report: Callable[[dict[str, float]], None],
        frozen_norms: bool,
    ) -> None:
        self.options = options(recipe)
        self.recipe, self.checkpoint, self.mark, self.report = recipe, checkpoint, mark, report
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
        self.average = {k: v.detach().clone() for k, v in self.model.state_dict().items()}
        self.history: list[dict[str, float]] = []
        self.epoch = self.step = 0
        self.pace, self.planned = Pace(recipe.minutes, recipe.epochs), recipe.epochs
        self.augmentation = Augmentation(flip=self.options.flip, crop=self.options.crop, gain=self.options.gain)

    def restore(self, found: dict[str, Any]) -> None:
        """Continues after the checkpoint's epoch."""
        self.model.load_state_dict(found["model"])
        self.optimizer.load_state_dict(found["optimizer"])
        self.average = {k: v.to(self.device) for k, v in found["average"].items()}
        self.history, self.epoch, self.step = list(found["history"]), found["epoch"], found["step"]
        self.pace, self.planned = Pace(self.recipe.minutes, self.recipe.epochs, found["seconds"]), found["planned"]
        torch.set_rng_state(found["torch_random"])

    def run(self) -> None:
        """Epochs until the plan is done; after each: plan, report, checkpoint."""
        self.model.backbone.fuse_frozen()
        while self.epoch < self.planned:
            loss = self._epoch()
            self.epoch += 1
            self.planned = self.pace.planned(self.epoch)
            row = {
                "epoch": float(self.epoch),
                "seconds": self.pace.spent(),
                "loss": loss["total"],
                **{k: v for k, v in loss.items() if k != "total"},
                "lr": float(self.optimizer.param_groups[1]["lr"]),
                "epochs_planned": float(self.planned),
            }
            if self.val_images:
                row["val_map50"] = self.val_map50()
            self.report(row)
            self.history.append(row)
            write_torch(
                self.checkpoint,
                {
                    "format": CHECKPOINT_FORMAT,
                    "fingerprint": self.mark,
                    "epoch": self.epoch,
                    "step": self.step,
                    "planned": self.planned,
                    "seconds": self.pace.spent(),
                    "history": self.history,
                    "model": self.model.state_dict(),
                    "average": self.average,
                    "optimizer": self.optimizer.state_dict(),
                    "torch_random": torch.get_rng_state(),
                },
            )

    def _batches(self) -> Iterator[list[TrainingImage]]:
        order = np.random.default_rng([self.recipe.seed, self.epoch]).permutation(len(self.train_images))
        for start in range(0, len(order), self.recipe.batch):
            yield [self.train_images[i] for i in order[start : start + self.recipe.batch]]

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

    def _epoch(self) -> dict[str, float]:
        """One pass over train; the losses' means."""
        self.model.train()
        random = np.random.default_rng([self.recipe.seed, self.epoch, 1])
        sums: dict[str, float] = {}
        n_batches = math.ceil(len(self.train_images) / self.recipe.batch)
        warmup = min(WARMUP_STEPS, max(1, self.recipe.epochs * n_batches // 10))
        for number, images in enumerate(self._batches()):
            share = learning_rate(self.pace.progress(self.epoch + number / n_batches), self.step, warmup)
            for group in self.optimizer.param_groups:
                group["lr"] = self.recipe.lr * share * group["share"]
            samples = [self._sample(image, random) for image in images]
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
            self._update_average()
            for name, value in {**losses, "total": total}.items():
                sums[name] = sums.get(name, 0.0) + float(value.detach()) / n_batches
        return sums

    def _update_average(self) -> None:
        """Exponential moving average, its decay rising to the option's so that early weights are forgotten."""
        self.step += 1
        decay = min(self.options.ema, self.step / (self.step + 10)) if self.options.ema else 0.0
        for name, value in self.model.state_dict().items():  # detached tensors: no gradient is recorded
            if value.is_floating_point():
                self.average[name].lerp_(value, 1 - decay)
            else:
                self.average[name].copy_(value)

    def val_map50(self) -> float:
        """COCO mAP@.5 of the averaged weights on evenly spaced val images; 0 where those hold no box."""
        from carsdepo_assets.detectors.faster_rcnn import FasterRcnnPredictor

        pick = np.unique(np.linspace(0, len(self.val_images) - 1, self.options.val_images).astype(int))
        chosen = [self.val_images[i] for i in pick]
        current = {k: v.detach().clone() for k, v in self.model.state_dict().items()}
        self.model.load_state_dict(self.average)
        self.model.eval()
        predictor = FasterRcnnPredictor(self.model, self.recipe.image_size, str(self.device))
        found = [predictor.predict([read_rgb(image)])[0] for image in chosen]
        self.model.load_state_dict(current)
        flat = flatten([Truth(i.xyxy.reshape(-1, 4), i.classes) for i in chosen], found, self.n_classes)
        ap = coco_ap(flat, [(i.width, i.height) for i in chosen], 100)[0]
        return float(np.nanmean(ap)) if np.isfinite(ap).any() else 0.0
