"""What stops a training before its first step: an absent device, nothing to learn from, a start that cannot be."""

from __future__ import annotations

from carsdepo_assets.detectors.base import Recipe, TrainingSet
from carsdepo_assets.detectors.checkpoints import DetectorError
from carsdepo_assets.families.registry import family_of


def check_training(data: TrainingSet, recipe: Recipe) -> None:
    """Checks what every family needs.

    Args:
        data: The images to train and validate on.
        recipe: How to train.

    Raises:
        DetectorError: There is no training image, none of them has a box, a box is of a class that the set does not
            name, or the recipe's device is not there.
    """
    train = data.split("train")
    if not train:
        raise DetectorError("the training set has no image in split 'train'.")
    if not any(len(image.classes) for image in train):
        raise DetectorError(
            f"none of the {len(train)} training images has a box: from empty labels alone nothing can be learnt. Label "
            "damage on some of them."
        )
    n_classes = len(data.class_names)
    for image in data.images:
        strange = sorted({int(c) for c in image.classes} - set(range(n_classes)))
        if strange:
            raise DetectorError(
                f"image {image.image_id} has a box of class id {strange[0]}, and the set names "
                f"{n_classes} classes: {', '.join(data.class_names)}."
            )
    check_device(recipe.device)


def check_init(name: str, init: str) -> None:
    """Checks a recipe's `init`, unless it names a file.

    Args:
        name: The family's.
        init: What its training is to start from.

    Raises:
        DetectorError: The family has no such start, or it is one whose file the training must be given.
    """
    family = family_of(name)
    if init in ("champion", "pretrained"):
        raise DetectorError(f"init {init} must be given as its weights file when the training starts.")
    if (init == "imagenet" and family.imagenet is None) or (init == "yolov8n" and name != init):
        others = ", ".join((*family.starts, "champion"))
        raise DetectorError(f"init {init} is not for {name}, which has {others} or a weights file.")


def check_device(device: str) -> None:
    """Raises DetectorError where torch does not know the device, or the machine does not have it."""
    import torch

    try:
        wanted = torch.device(device)
    except RuntimeError as error:
        raise DetectorError(f"device {device!r}: there are cpu, and cuda:0 and so on for GPUs.") from error
    if wanted.type == "cpu":
        return
    if wanted.type != "cuda":
        raise DetectorError(f"device {device!r}: there are cpu, and cuda:0 and so on for GPUs.")
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if (wanted.index or 0) >= gpus:
        has = "no GPU that torch can use" if not gpus else f"{gpus} {'GPU' if gpus == 1 else 'GPUs'}, cuda:0 first"
        raise DetectorError(
            f"the recipe asks for {device}, and this machine has {has}: train with device cpu, or on a machine with it."
        )
