"""Lists the detectors, proposes recipes for a budget of minutes and loads models of the lake. Light to import."""

from __future__ import annotations

import math
from typing import Literal, cast

from carsdepo_assets.detectors.base import Detector, LetterboxPredictor, Recipe
from carsdepo_assets.detectors.checkpoints import DetectorError
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.lake.model_files import ModelFilesError, folder
from carsdepo_assets.lake.models import ModelCard, digest_of, read_card, weights_path

NAMES = ("yolov8n", "faster_rcnn")

# Seconds of an optimizer step on 2 quiet cores: YOLOv8n at 160 px and batch 8, Faster R-CNN at 384 px, batch 2 and 5
# frozen blocks. They only bound the epochs; the pace is taken from the first epochs themselves.
_STEP_SECONDS = {"yolov8n": 0.23, "faster_rcnn": 0.27}
# It too only bounds the epochs. Measured on one H100 at 640 px: a step of YOLOv8n 21 times as fast, with its images
# read by one process; of Faster R-CNN an image 13 times as fast.
_GPU_SPEEDUP = 15


def get_detector(name: str) -> Detector:
    """Imports the detector's module. Raises DetectorError for a name that is not in NAMES."""
    if name == "yolov8n":
        from carsdepo_assets.detectors.yolov8.detector import YoloV8

        return YoloV8()
    if name == "faster_rcnn":
        from carsdepo_assets.detectors.faster_rcnn.detector import FasterRcnn

        return FasterRcnn()
    raise DetectorError(f"no detector named {name!r}: there are {', '.join(NAMES)}.")


def default_recipe(
    detector: str, *, minutes: float, n_train: int, device: str, real: bool, image_size: int | None = None
) -> Recipe:
    """Proposes a recipe.

    Args:
        detector: The detector's name.
        minutes: Wall time that the training may take.
        n_train: Number of training images.
        device: `cpu`, `cuda:0` and so on.
        real: Whether the images are photographs, with small damage on large images, and not the rendered sample, for
            which smaller images do.
        image_size: Side of the square that the network sees, in pixels; None lets the other arguments decide.

    Raises:
        DetectorError: There is no such detector.
    """
    if detector not in NAMES:
        raise DetectorError(f"no detector named {detector!r}: there are {', '.join(NAMES)}.")
    name = cast(Literal["yolov8n", "faster_rcnn"], detector)
    gpu = device != "cpu"
    values: dict[str, object]
    if name == "yolov8n":
        size = image_size or (640 if gpu and real else 320 if real else 160)
        values = {"image_size": size, "batch": 16 if gpu else 8, "lr": 0.001, "weight_decay": 0.0005}
        if not real:
            # Rendered cars fill their frames alike, so ultralytics' scale of 0.5 and translation of 0.1 only delay a
            # short training: after 248 steps mAP@.5 0.33, with these values 0.46.
            values["extra"] = {"scale": 0.2, "translate": 0.05}
        step = _STEP_SECONDS[name] * (size / 160) ** 2
    else:
        size = image_size or (640 if gpu else 384 if real else 256)
        values = {
            "init": "imagenet",
            "image_size": size,
            # In minutes on a CPU small batches win by their number of steps; see docs/decisions.md for the figures.
            "batch": 8 if gpu else 2,
            "lr": 0.0005 if gpu else 0.00015,
            "weight_decay": 0.01,
            "freeze": 0 if gpu else 5,
        }
        step = _STEP_SECONDS[name] * (size / 384) ** 2
    if gpu:
        step /= _GPU_SPEEDUP
    batch = cast(int, values["batch"])
    # Twice what should fit: `minutes` ends the training, the epochs only bound it on a faster machine.
    epochs = max(1, math.ceil(2 * minutes * 60 / (step * max(1, math.ceil(n_train / batch)))))
    return Recipe.model_validate(
        {
            "detector": name,
            "minutes": minutes,
            "device": device,
            "epochs": min(epochs, 300),
            **values,
        }
    )


def retraining_recipe(recipe: Recipe, champion: str) -> Recipe:
    """The recipe for training on from the champion's weights, at half the learning rate. champion: its digest.

    Nothing more is frozen than in a first training: features of a light that the backbone never saw are not learnt
    above it. Measured with YOLOv8n, trained on 300 rendered photographs by day, then with 80 by night besides, mAP@.5
    on 100 others of each (day, night): before 0.44, 0.11; freeze=10 0.47, 0.16; freeze=0 in the same CPU seconds 0.48,
    0.25. Half the rate or all of it, two seeds each: no difference by night, at most 0.01 by day in favour of half.
    """
    return recipe.model_copy(update={"init": "champion", "champion": champion, "lr": recipe.lr / 2})


def load_model(lake: Lake, digest: str, device: str = "cpu") -> tuple[LetterboxPredictor, ModelCard]:
    """Loads a model of the lake by torch, for evaluation and export; services load it by `runtimes.load_served`.

    Args:
        lake: The lake.
        digest: The model.
        device: `cpu`, `cuda:0` and so on.

    Returns:
        The model, and its card.

    Raises:
        LakeError: The lake has no such model.
        ModelFilesError: The weights are not those that the digest names.
    """
    card = read_card(lake, digest)
    weights = weights_path(lake, card)
    if digest_of(weights.read_bytes()) != digest:
        raise ModelFilesError(f"{folder(digest)}/{card.weights} was changed: it is not the file of this digest.")
    return get_detector(card.detector).load(weights, card.class_names, card.image_size, device), card
