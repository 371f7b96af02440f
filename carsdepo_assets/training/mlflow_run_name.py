"""The name of a training's run in MLflow: detector, photographs, dataset and initial weights."""

from __future__ import annotations

from pathlib import Path

from carsdepo_assets.detectors.base import Recipe
from carsdepo_assets.families.registry import family_of, title_of
from carsdepo_assets.lake.datasets import read_manifest
from carsdepo_assets.lake.lake import Lake

_DIGITS = 4  # of a digest: enough to tell the trainings of one list apart


def run_name(lake: Lake, dataset_version: str, recipe: Recipe) -> str:
    """For example `YOLOv8n, 700 photographs, dataset 1a2b, from champion 3c4d`."""
    photographs = read_manifest(lake, dataset_version).num_rows
    title = title_of(recipe.detector)
    return f"{title}, {photographs:,} photographs, dataset {dataset_version[:_DIGITS]}, {_start(recipe)}"


def _start(recipe: Recipe) -> str:
    if recipe.init == "champion" and recipe.champion is not None:
        return f"from champion {recipe.champion[:_DIGITS]}"
    published = family_of(recipe.detector).pretrained
    if published is not None and Path(recipe.init).name in (published.file, "pretrained", "yolov8n"):
        return f"from {published.trained_on}"
    return {"scratch": "from scratch", "imagenet": "from ImageNet"}.get(recipe.init, "from a file of weights")
