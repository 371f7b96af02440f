"""The trainings on real photographs: what each is for, how it is trained and for how many minutes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from carsdepo_assets.detectors.base import Recipe

SCREENED_CPU, SCREENED_GPU, LONG = 8.5, 8.6, 28.0  # minutes


@dataclass(frozen=True)
class Planned:
    """One training."""

    name: str
    """Of its result's file."""
    says: str
    """What is different from the other trainings, for people."""
    hardware: Literal["cpu", "gpu"]
    """Two cores, or a GPU."""
    detector: str
    """Its family."""
    image_size: int
    """Pixels: side of the square."""
    batch: int
    """Images of a step."""
    lr: float
    """Learning rate."""
    minutes: float
    """Wall time of the training with its validations; reading the photographs and testing come on top."""
    freeze: int = 0
    """Leading blocks of the backbone that are kept as they are."""
    init: str = "imagenet"
    """What it starts from."""
    weight_decay: float = 0.01
    """Weight decay."""
    seed: int = 0
    """Of chance."""
    one_group_of: int = 1
    """Train has one group of so many: the learning curve."""
    extra: Mapping[str, Any] = field(default_factory=dict)
    """Options of the family."""

    def recipe(self) -> Recipe:
        """The recipe; the minutes and not the epochs end it."""
        return Recipe(
            detector=self.detector,
            init=self.init,
            image_size=self.image_size,
            batch=self.batch,
            lr=self.lr,
            weight_decay=self.weight_decay,
            freeze=self.freeze,
            minutes=self.minutes,
            epochs=2000,
            device="cpu" if self.hardware == "cpu" else "cuda:0",
            seed=self.seed,
            extra=dict(self.extra),
        )


_FEW = {"val_images": 24}  # scored after an epoch, to see the curve: the minutes are for training


def _cpu(name: str, says: str, **changed: Any) -> Planned:
    usual: dict[str, Any] = {"detector": "faster_rcnn", "image_size": 384, "batch": 2, "lr": 1.5e-4, "freeze": 5}
    usual["minutes"] = SCREENED_CPU
    extra = {**_FEW, **changed.pop("extra", {})}
    return Planned(name, says, "cpu", **{**usual, **changed}, extra=extra)


def _gpu(name: str, says: str, **changed: Any) -> Planned:
    usual: dict[str, Any] = {"detector": "faster_rcnn_lite2", "image_size": 640, "batch": 8, "lr": 5e-4}
    usual["minutes"] = SCREENED_GPU
    extra = {**_FEW, "anchor_scale": 2.5, **changed.pop("extra", {})}
    return Planned(name, says, "gpu", **{**usual, **changed}, extra=extra)


PLAN = (
    _cpu("cpu-default", "the recipe of the product"),
    _cpu("cpu-anchors", "anchors of 24 to 288 px", extra={"anchor_scale": 1.5}),
    _cpu("cpu-320", "320 px, anchors of 20 to 240 px", image_size=320, extra={"anchor_scale": 1.25}),
    _cpu("cpu-lite2", "Lite2, anchors of 24 to 288 px", detector="faster_rcnn_lite2", extra={"anchor_scale": 1.5}),
    _cpu(
        "cpu-unfrozen",
        "320 px, anchors of 20 to 240 px, two blocks frozen, batch 4, 3e-4",
        image_size=320,
        freeze=2,
        batch=4,
        lr=3e-4,
        extra={"anchor_scale": 1.25},
    ),
    _cpu(
        "cpu-lite2-long",
        "Lite2, anchors of 24 to 288 px, for longer",
        detector="faster_rcnn_lite2",
        minutes=LONG,
        extra={"anchor_scale": 1.5},
    ),
    _cpu("cpu-default-long", "the recipe of the product, for longer", minutes=LONG),
    _gpu("gpu-lite2", "Lite2, anchors of 40 to 480 px"),
    _gpu("gpu-lite2-half", "the same, one group of two", one_group_of=2),
    _gpu("gpu-lite2-quarter", "the same, one group of four", one_group_of=4),
    _gpu("gpu-lite2-small-anchors", "Lite2, the product's anchors of 16 to 192 px", extra={"anchor_scale": 1.0}),
    _gpu(
        "gpu-lite2-varied",
        "Lite2, 90 % crops, light by 40 %, backbone at 0.3 of the rate",
        extra={"crop": 0.9, "gain": 0.4, "backbone_lr": 0.3},
    ),
    _gpu(
        "gpu-lite2-varied-alone",
        "the same, with nothing beside it",
        minutes=2.3,
        extra={"crop": 0.9, "gain": 0.4, "backbone_lr": 0.3},
    ),
    _gpu("gpu-lite2-512", "512 px, anchors of 32 to 384 px", image_size=512, extra={"anchor_scale": 2.0}),
    Planned(
        "gpu-yolov8s",
        "YOLOv8s from random weights, with mosaics",
        "gpu",
        "yolov8s",
        image_size=640,
        batch=16,
        lr=1e-3,
        minutes=SCREENED_GPU,
        init="scratch",
        weight_decay=5e-4,
        extra={"mosaic": 1.0, "close_mosaic": 15},
    ),
)
