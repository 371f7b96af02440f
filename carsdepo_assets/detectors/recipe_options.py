"""What a recipe's `extra` may hold for detectors that train by `training_loop.py`. Light to import."""

from __future__ import annotations

from collections.abc import Collection
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from carsdepo_assets.detectors.base import Recipe
from carsdepo_assets.detectors.checkpoints import DetectorError


class LoopOptions(BaseModel):
    """What recipe.extra may hold for every family that trains by the common loop; families add their own."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    threads: int | None = Field(None, ge=1, description="CPU threads; default: all that the process may use")
    ema: float = Field(0.99, ge=0, lt=1, description="decay of the averaged weights per step; 0: none")
    val_images: int = Field(64, ge=1, description="images of val scored after an epoch")
    crop: float = Field(0.5, ge=0, le=1, description="of recipes without `augmentation`; likewise the next two")
    flip: float = Field(0.5, ge=0, le=1)
    gain: float = Field(0.25, ge=0, lt=1)
    backbone_lr: float = Field(1.0, gt=0, description="the backbone's learning rate as a share of the recipe's")


_FORMERLY = ("crop", "flip", "gain")  # what recipe.augmentation has taken the place of
Options = TypeVar("Options", bound=LoopOptions)


def read_options(recipe: Recipe, kind: type[Options]) -> Options:
    """Reads recipe.extra.

    Args:
        recipe: The recipe.
        kind: The options of its family.

    Raises:
        DetectorError: A key is unknown or a value does not fit; the message names it and lists the known keys. Or the
            recipe says twice how photographs are varied.
    """
    check_declared(recipe, _FORMERLY)
    try:
        return kind.model_validate(recipe.extra)
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise DetectorError(
            f"recipe.extra of {recipe.detector}: {wrong}. Known: {', '.join(kind.model_fields)}."
        ) from error


def check_declared(recipe: Recipe, own: Collection[str]) -> None:
    """Checks that a recipe with an augmentation names none in its `extra`.

    Args:
        recipe: The recipe.
        own: The family's own arguments of augmentation.

    Raises:
        DetectorError: It does; the message names the arguments.
    """
    both = sorted(set(own) & recipe.extra.keys())
    if recipe.augmentation is not None and both:
        raise DetectorError(
            f"recipe.extra of {recipe.detector} may not set {', '.join(both)}: recipe.augmentation says how "
            "photographs are varied. Set [augmentation] of the policy, or let a study vary augmentation.NAME."
        )
