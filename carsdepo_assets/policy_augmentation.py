"""The augmentation section of the policy, and the settings that come of it for one training."""

from __future__ import annotations

import hashlib
import json
from typing import Annotated

from pydantic import Field

from carsdepo_assets.policy_values import PolicySection, Share, policy_value

# Of `imaging.augmentation`: counted up when the same settings would give other pictures than before.
IMPLEMENTATION = 1
GREY = 114  # level of 255 beside photographs that are no squares, in trainings and in serving


class AugmentationSettings(PolicySection):
    """How a training varies its photographs; each field means what it means in the policy. Nothing is varied unless a
    field says so."""

    flip: Share = 0.0
    crop: Share = 0.0
    crop_min: Annotated[float, Field(gt=0, le=1)] = 0.55
    scale: Annotated[float, Field(ge=0, lt=1)] = 0.0
    translate: Annotated[float, Field(ge=0, le=0.5)] = 0.0
    mosaic: Share = 0.0
    brightness: Annotated[float, Field(ge=0, lt=1)] = 0.0
    contrast: Annotated[float, Field(ge=0, lt=1)] = 0.0
    saturation: Share = 0.0
    hue: Annotated[float, Field(ge=0, le=0.5)] = 0.0
    blur: Share = 0.0
    blur_px: Annotated[float, Field(gt=0, le=10)] = 1.5
    noise: Share = 0.0
    noise_levels: Annotated[float, Field(gt=0, le=64)] = 8.0
    jpeg: Share = 0.0
    jpeg_quality: Annotated[float, Field(ge=5, le=100)] = 40.0
    min_visible: Share = 0.0

    @property
    def version(self) -> str:
        """12 hex digits of the sha256 of the settings as sorted JSON and of the implementation's number.

        Equal settings have one version, wherever they were written down; another value has another one.
        """
        content = {**self.model_dump(mode="json"), "implementation": IMPLEMENTATION}
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]

    def described(self) -> str:
        """What is varied, in words."""
        return ", ".join(f"{name} {value:g}" for name, value in self if self._acts(name)) or "nothing is varied"

    def _acts(self, name: str) -> bool:
        """Whether a field has an effect: the strength of what never happens has none."""
        moving = ("crop", "scale", "translate", "mosaic")
        if name == "min_visible":
            return any(getattr(self, field) > 0 for field in moving)
        whose = {"crop_min": "crop", "blur_px": "blur", "noise_levels": "noise", "jpeg_quality": "jpeg"}.get(name, name)
        return bool(getattr(self, whose) > 0)


class AugmentationPolicy(PolicySection):
    """How photographs are varied while a model learns from them, so that it knows damage in another light, size or
    place of the picture. Boxes move with their pixels.

    The same settings give the same pictures in every family of detectors that declares its usual values; docs/detectors
    names the usual values, which `none` stands for. `carsdepo augmentation` shows pictures. Every recipe, lineage and
    model card has the settings and their version.
    """

    flip: float | None = policy_value(
        None, "share of photographs", "Chance of being mirrored, left for right; none: the family's.", ge=0, le=1
    )
    crop: float | None = policy_value(
        None,
        "share of photographs",
        "Chance of being cropped. A crop that would lose every box is not made; none: the family's.",
        ge=0,
        le=1,
    )
    crop_min: float | None = policy_value(
        None, "share of the side", "Shortest side of a crop; none: the family's.", gt=0, le=1
    )
    scale: float | None = policy_value(
        None, "share", "Largest change of size: 0.5 is half to one and a half; none: the family's.", ge=0, lt=1
    )
    translate: float | None = policy_value(
        None, "share of the network's image", "Largest move, across and down; none: the family's.", ge=0, le=0.5
    )
    mosaic: float | None = policy_value(
        None,
        "share of photographs",
        "Chance of being put together with three others, drawn by chance; none: the family's.",
        ge=0,
        le=1,
    )
    brightness: float | None = policy_value(
        None,
        "share",
        "Largest change of the light, which all colours are multiplied by; none: the family's.",
        ge=0,
        lt=1,
    )
    contrast: float | None = policy_value(
        None, "share", "Largest change of differences from the mean of the photograph; none: the family's.", ge=0, lt=1
    )
    saturation: float | None = policy_value(
        None, "share", "Largest change of how strong colours are; none: the family's.", ge=0, le=1
    )
    hue: float | None = policy_value(
        None, "share of the circle of colours", "Largest turn of the colours; none: the family's.", ge=0, le=0.5
    )
    blur: float | None = policy_value(
        None, "share of photographs", "Chance of being blurred, as by a shaking hand; none: the family's.", ge=0, le=1
    )
    blur_px: float | None = policy_value(
        None,
        "pixels of the network's image",
        "Largest standard deviation of the blur; none: the family's.",
        gt=0,
        le=10,
    )
    noise: float | None = policy_value(
        None, "share of photographs", "Chance of noise, as a sensor has it at night; none: the family's.", ge=0, le=1
    )
    noise_levels: float | None = policy_value(
        None, "levels of 255", "Largest standard deviation of the noise; none: the family's.", gt=0, le=64
    )
    jpeg: float | None = policy_value(
        None, "share of photographs", "Chance of a further JPEG compression; none: the family's.", ge=0, le=1
    )
    jpeg_quality: float | None = policy_value(
        None, "quality of 100", "Lowest quality of that compression; none: the family's.", ge=5, le=100
    )
    min_visible: float | None = policy_value(
        None,
        "share of the box's area",
        "A box that keeps less than this inside the picture is dropped and counted; none: the family's.",
        ge=0,
        le=1,
    )

    def over(self, usual: AugmentationSettings) -> AugmentationSettings:
        """A family's usual settings with what the policy says otherwise."""
        named = {name: value for name, value in self if value is not None}
        return AugmentationSettings.model_validate(usual.model_dump() | named)
