"""Changes a recipe as a fallback of policy.training asks, and names the initial weights. Light to import."""

from __future__ import annotations

import importlib.util
import math
from pathlib import Path

from carsdepo_assets.detectors.base import Recipe
from carsdepo_assets.detectors.catalogue import default_recipe
from carsdepo_assets.families.registry import family_of
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.policy import Fallback, Longer, OtherDetector

_YOLOV8N = "yolov8n"  # as a recipe's and a fallback's `init`: the published weights of that family alone


class ImpossibleChange(ValueError):
    """A fallback that cannot be applied to the recipe; the message says why."""


def recipe_key(digest: str) -> str:
    """The recipe's key in the lake."""
    return f"recipes/{digest}.json"


def read_recipe(lake: Lake, digest: str) -> Recipe:
    """Reads a recipe of the lake. Raises LakeError where there is no such recipe."""
    return Recipe.model_validate_json(lake.get(recipe_key(digest)))


def first_start(detector: str, weights: Path) -> str:
    """The recipe's `init` for a family's first model: ImageNet's backbone, else published weights, else random ones.

    Args:
        detector: The family.
        weights: The home's folder of published weights.
    """
    if family_of(detector).imagenet is not None:
        return "imagenet"
    init = pretrained_init(detector, weights)
    return init if init is not None and is_there(init, weights) else "scratch"


def pretrained_init(detector: str, weights: Path) -> str | None:
    """The recipe's `init` for a family's published weights: a path below the home, so that homes can be moved.

    Args:
        detector: The family.
        weights: The home's folder of published weights.

    Returns:
        None where the family has none.
    """
    published = family_of(detector).pretrained
    return None if published is None else f"{weights.name}/{published.file}"


def is_there(init: str, weights: Path) -> bool:
    """Whether the file that `init` names, below the home of the folder `weights`, is there."""
    return (weights.parent / init).is_file()


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
        weights: The home's folder of published weights.

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
    if name in ("pretrained", _YOLOV8N):
        return pretrained_init(_YOLOV8N if name == _YOLOV8N else base.detector, weights) or name
    return name


def _frozen(usual: Recipe, init: str) -> int:
    """Layers of random weights are never kept as they are."""
    return 0 if init == "scratch" else usual.freeze


def _absent(detector: str, init: str, weights: Path) -> str | None:
    """Why the family cannot start so; None where it can."""
    family = family_of(detector)
    if init == "imagenet":
        if family.imagenet is None:
            return f"{detector} has no ImageNet backbone of its own"
        if importlib.util.find_spec(family.imagenet.replace("-", "_")) is None:
            return f"its ImageNet weights are absent: the package {family.imagenet} is not installed"
    if init == "pretrained":
        return f"{detector} has no published weights"
    if "/" in init:
        if init != pretrained_init(detector, weights):
            return f"{detector} cannot start from {Path(init).name}"
        if not is_there(init, weights):
            return (
                f"weights/{Path(init).name} is absent, and nothing is downloaded unasked: "
                f"`carsdepo weights get {detector}` fetches it"
            )
    return None


def _named(init: str) -> str:
    return "random weights" if init == "scratch" else Path(init).name
