"""What a recipe of D-FINE may hold beside the common values. Light to import."""

from __future__ import annotations

from pydantic import Field

from carsdepo_assets.detectors.recipe_options import LoopOptions


class DFineOptions(LoopOptions):
    """What recipe.extra may hold for D-FINE."""

    backbone_lr: float = Field(0.5, gt=0, description="the backbone's learning rate as a share of the recipe's")
    denoising: int = Field(100, ge=0, description="denoising queries of a step; 0: none")
