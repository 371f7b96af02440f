"""Which recipe to train with, until an experiment finds a better one."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa

from carsdepo_assets.detectors.base import Recipe
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.lake.models import ModelCard, read_card
from carsdepo_assets.policy import Policy
from carsdepo_assets.registry.ledger import desired

LATEST = "recipes/latest.json"
RENDERED = {"sample", "annotator"}  # origins of labels that the renderer and the annotator who knows its world give


def choose_recipe(
    policy: Policy,
    manifest: pa.Table,
    weights: Path,
    *,
    detector: str | None = None,
    minutes: float | None = None,
    epochs: int | None = None,
    steps: int | None = None,
    champion: ModelCard | None = None,
) -> Recipe:
    """The recipe for a dataset's manifest: so many steps, or what fits into `minutes` (policy.training where None).

    A run that asks for minutes or epochs is not ended by the policy's steps.

    weights: a folder that may hold `yolov8n.pt`, put there by the user. champion: the model to start from where it is
    of the same detector and the policy wants it; one of another detector changes nothing. Raises DetectorError for an
    unknown detector.
    """
    from carsdepo_assets.detectors.catalogue import best_device, default_recipe, retraining_recipe

    real = not set(manifest["origin"].to_pylist()) <= RENDERED
    pretrained = weights / "yolov8n.pt"
    wanted = detector or policy.training.detector
    if wanted == "auto":
        wanted = "yolov8n" if not real or pretrained.exists() else "faster_rcnn"
    n_train = manifest["split"].to_pylist().count("train")
    goes_on = champion is not None and champion.detector == wanted and policy.training.from_champion
    ends = steps if steps is not None else policy.training.steps if epochs is None and minutes is None else None
    usual = (policy.training.retrain_minutes if goes_on else None) or policy.training.minutes
    budget = minutes or (policy.training.cap_minutes if ends is not None else usual)
    recipe = default_recipe(wanted, minutes=budget, n_train=n_train, device=best_device(), real=real)
    changes: dict[str, object] = {"seed": policy.training.seed}
    if goes_on and champion is not None:
        # It never saw a photograph of the golden set: no photograph changes sides, so no dataset ever had one to train.
        recipe = retraining_recipe(recipe, champion.digest)
    elif wanted == "yolov8n" and pretrained.exists():
        changes["init"] = str(pretrained)
    if ends is not None:
        changes |= {"steps": ends, "epochs": -(-ends // -(-max(1, n_train) // recipe.batch))}
    if epochs is not None:
        changes["epochs"] = epochs
    return recipe.model_copy(update=changes)


def champion_for(lake: Lake, dataset_version: str) -> ModelCard | None:
    """The model that a training on this dataset goes on from: the one in production; None where it serves none.

    One that was trained on this very dataset has nothing new to learn from it. Then it is the model which that one
    started from: the recipe comes out as its own again, and its candidate stands.
    """
    event = desired(lake, "production")
    digest = event.digest if event else None
    while digest is not None:
        card = read_card(lake, digest)
        if card.dataset_version != dataset_version:
            return card
        digest = card.recipe.get("champion")
    return None


def write_recipe(lake: Lake, recipe: Recipe) -> str:
    """Stores recipes/<digest>.json and points recipes/latest.json at it; returns the digest."""
    digest = recipe.digest()
    lake.put(f"recipes/{digest}.json", recipe.model_dump_json(indent=1).encode())
    lake.put(LATEST, json.dumps({"digest": digest}).encode())
    return digest
