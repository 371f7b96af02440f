"""Makes detectors, proposes recipes for a budget of minutes and loads models of the lake. Light to import."""

from __future__ import annotations

import math
from importlib import import_module
from typing import cast

from pydantic import ValidationError

from carsdepo_assets.detectors.base import Detector, LetterboxPredictor, Recipe
from carsdepo_assets.detectors.checkpoints import DetectorError
from carsdepo_assets.families.family import Family
from carsdepo_assets.families.registry import UnknownFamily, family_of
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.lake.model_files import ModelFilesError, folder
from carsdepo_assets.lake.models import ModelCard, digest_of, read_card, weights_path
from carsdepo_assets.policy_augmentation import AugmentationSettings

# It too only bounds the epochs. Measured on one H100 at 640 px: a step of YOLOv8n 21 times as fast, with its images
# read by one process; of Faster R-CNN an image 13 times as fast.
_GPU_SPEEDUP = 15
_MOST_EPOCHS = 300  # of a recipe that is proposed, whatever time there is


def get_detector(name: str) -> Detector:
    """Makes a family's detector, importing its module.

    Args:
        name: The family's.

    Raises:
        DetectorError: There is no such family, what it needs is not installed, or what it names is no detector.
    """
    family = _family(name)
    try:
        if isinstance(family.detector, str):
            module, _, attribute = family.detector.partition(":")
            detector = getattr(import_module(module), attribute)(name)
        else:
            detector = family.detector(name)
    except ImportError as error:
        needs = ", ".join(family.libraries)
        raise DetectorError(f"{family.title} cannot be used: {error}. It needs {needs}.") from error
    except (Exception, SystemExit) as error:  # of a package's own code
        raise DetectorError(f"{family.title} cannot be used: {type(error).__name__}: {error}.") from error
    missing = [method for method in ("train", "load") if not callable(getattr(detector, method, None))]
    if missing:
        raise DetectorError(f"{family.title} cannot be used: its detector has no method {' and '.join(missing)}.")
    return cast(Detector, detector)


def _family(name: str) -> Family:
    try:
        return family_of(name)
    except UnknownFamily as error:
        raise DetectorError(str(error)) from error


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
    family = _family(detector)
    gpu = device != "cpu"
    usual = family.gpu if gpu else family.cpu
    size = image_size or (usual.photographs_px if real else usual.rendered_px)
    step = family.step_seconds * (size / family.step_px) ** 2 / (_GPU_SPEEDUP if gpu else 1)
    # Twice what should fit: `minutes` ends the training, the epochs only bound it on a faster machine.
    fitting = 2 * minutes * 60 / (step * max(1, math.ceil(n_train / usual.batch)))
    epochs = max(1, math.ceil(min(fitting, _MOST_EPOCHS)))
    return Recipe(
        detector=family.name,
        init="scratch" if family.imagenet is None else "imagenet",
        minutes=minutes,
        device=device,
        epochs=epochs,
        image_size=size,
        batch=usual.batch,
        lr=usual.lr,
        weight_decay=usual.weight_decay,
        freeze=usual.freeze,
        extra={} if real else dict(family.rendered_extra),
        augmentation=usual_augmentation(family, real=real),
    )


def usual_augmentation(family: Family, *, real: bool) -> AugmentationSettings | None:
    """How a family varies photographs where the policy says nothing.

    Args:
        family: The family.
        real: Whether they are photographs and not the rendered sample.

    Returns:
        None where the family varies them by itself.

    Raises:
        DetectorError: The family names what the policy's section `augmentation` has not.
    """
    if family.augmentation is None:
        return None
    changes = {} if real else family.rendered_augmentation
    try:
        return AugmentationSettings.model_validate({**family.augmentation, **changes})
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise DetectorError(f"the usual augmentation of {family.title} cannot be used: {wrong}.") from error


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
