"""Which recipe to train with, until an experiment finds a better one."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa

from carsdepo_assets.detectors.base import Recipe
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.policy import Policy

LATEST = "recipes/latest.json"


def choose_recipe(
    policy: Policy,
    manifest: pa.Table,
    weights: Path,
    *,
    detector: str | None = None,
    minutes: float | None = None,
    epochs: int | None = None,
) -> Recipe:
    """The recipe for a dataset's manifest within `minutes` (policy.training where None).

    weights: a folder that may hold `yolov8n.pt`, put there by the user. Raises KeyError for an unknown detector.
    """
    from carsdepo_assets.detectors.catalogue import best_device, default_recipe

    real = set(manifest["origin"].to_pylist()) != {"sample"}
    pretrained = weights / "yolov8n.pt"
    wanted = detector or policy.training.detector
    if wanted == "auto":
        wanted = "yolov8n" if not real or pretrained.exists() else "faster_rcnn"
    n_train = manifest["split"].to_pylist().count("train")
    recipe = default_recipe(
        wanted, minutes=minutes or policy.training.minutes, n_train=n_train, device=best_device(), real=real
    )
    changes: dict[str, object] = {"seed": policy.training.seed}
    if wanted == "yolov8n" and pretrained.exists():
        changes["init"] = str(pretrained)
    if epochs is not None:
        changes["epochs"] = epochs
    return recipe.model_copy(update=changes)


def write_recipe(lake: Lake, recipe: Recipe) -> str:
    """Stores recipes/<digest>.json and points recipes/latest.json at it; returns the digest."""
    digest = recipe.digest()
    lake.put(f"recipes/{digest}.json", recipe.model_dump_json(indent=1).encode())
    lake.put(LATEST, json.dumps({"digest": digest}).encode())
    return digest
