"""What is made of photographs before a network sees them: resize, normalisation and augmentation, for the lineage."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict

from carsdepo_assets.families.registry import family_of
from carsdepo_assets.policy import Policy
from carsdepo_assets.policy_augmentation import GREY, AugmentationSettings

NOT_DECLARED = "by the family itself, not declared"  # the augmentation of recipes that have none


class PreprocessingLineage(BaseModel):
    """What was made of photographs before the network, and how the training varied them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    upright: bool
    """Whether they are turned as their EXIF says, before anything else."""
    stored_px: int
    """Longest side of the processed copies that the training read, in pixels."""
    network_px: int
    """Side of the square that the network is given, in pixels."""
    letterbox: int
    """Level of 255 of the grey beside photographs that are no squares."""
    mean: tuple[float, ...] | None
    """Red, green and blue, of 0 to 1, that are subtracted; None: the family does not tell."""
    std: tuple[float, ...] | None
    """What they are divided by after that."""
    augmentation: str | None
    """Version of the augmentation, whose settings the recipe has; None: the family varied photographs by itself."""

    @property
    def resize_text(self) -> str:
        """The resizing as a sentence."""
        turned = "turned upright, " if self.upright else ""
        return (
            f"{turned}stored with at most {self.stored_px} px, letterboxed to {self.network_px} px with grey "
            f"{self.letterbox} beside it"
        )

    @property
    def normalisation_text(self) -> str:
        """The normalisation as a sentence."""
        if self.mean is None or self.std is None:
            return "not told by the family"
        if not any(self.mean) and all(value == 1 for value in self.std):
            return "levels divided by 255"
        mean, std = (", ".join(f"{value:.3f}" for value in values) for values in (self.mean, self.std))
        return f"levels divided by 255, less {mean}, divided by {std}"

    def tags(self) -> dict[str, str]:
        """The three in words, for MLflow."""
        return {
            "carsdepo.resize": self.resize_text,
            "carsdepo.normalisation": self.normalisation_text,
            "carsdepo.augmentation": self.augmentation or NOT_DECLARED,
        }


def augmentation_text(recipe: Mapping[str, Any]) -> str:
    """How a training varied photographs, in words, also by settings of a release that knows other fields.

    Args:
        recipe: as a lineage has it.
    """
    settings = recipe.get("augmentation")
    if settings is None:
        return NOT_DECLARED
    try:
        return AugmentationSettings.model_validate(settings).described()
    except ValueError:
        return ", ".join(f"{name} {value}" for name, value in settings.items()) if isinstance(settings, dict) else "?"


def describe_preprocessing(
    family: str, network_px: int, augmentation: AugmentationSettings | None, policy: Policy
) -> PreprocessingLineage:
    """What a training makes of photographs before the network.

    Args:
        family: the name of the detector's family.
        network_px: side of the square that the network is given, in pixels.
        augmentation: the recipe's.
        policy: that of the training.
    """
    normalisation = family_of(family).normalisation
    return PreprocessingLineage(
        upright=True,
        stored_px=policy.data.longest_side_px,
        network_px=network_px,
        letterbox=GREY,
        mean=None if normalisation is None else normalisation.mean,
        std=None if normalisation is None else normalisation.std,
        augmentation=None if augmentation is None else augmentation.version,
    )
