"""What a recipe of Faster R-CNN on EfficientNet-Lite may hold beside the common values. Light to import."""

from __future__ import annotations

from pydantic import Field

from carsdepo_assets.detectors.recipe_options import LoopOptions


class LiteOptions(LoopOptions):
    """What recipe.extra may hold for Faster R-CNN on EfficientNet-Lite."""

    anchor_scale: float = Field(
        1.0, gt=0, le=8, description="sides of the anchors as a multiple of 16 to 192 pixels of the network's image"
    )
