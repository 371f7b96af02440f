"""The name of a training's run in MLflow: detector, photographs, dataset and initial weights."""

from __future__ import annotations

from carsdepo_assets.detectors.base import Recipe
from carsdepo_assets.lake.datasets import read_manifest
from carsdepo_assets.lake.lake import Lake

_DIGITS = 4  # of a digest: enough to tell the trainings of one list apart


def run_name(lake: Lake, dataset_version: str, recipe: Recipe) -> str:
    """For example `yolov8n, 700 photographs, dataset 1a2b, from champion 3c4d`."""
    photographs = read_manifest(lake, dataset_version).num_rows
    return f"{recipe.detector}, {photographs:,} photographs, dataset {dataset_version[:_DIGITS]}, {_start(recipe)}"


def _start(recipe: Recipe) -> str:
    if recipe.init == "champion" and recipe.champion is not None:
        return f"from champion {recipe.champion[:_DIGITS]}"
    starts = {"scratch": "from scratch", "imagenet": "from ImageNet", "yolov8n": "from COCO"}
    return starts.get(recipe.init, "from a file of weights")
