"""Models in the lake: models/<digest>/ holds weights, model.json, result.json, lineage.json and their manifest.json.

The digest is the first 16 hex digits of the sha256 of the weights. lineage.json is written last: a folder without it
is not a model yet.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.lake.model_files import folder, put_model_manifest
from carsdepo_assets.lake.training_findings import TrainingFinding

DIGITS = 16  # of the sha256 of a model's weights, which name it


class ModelCard(BaseModel):
    """What it takes to load and use a model's weights: the content of model.json."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    digest: str
    """first 16 hex digits of the sha256 of the weights"""
    weights: str
    """file name of the weights inside models/<digest>/"""
    detector: str
    """name of the detector in detectors.catalogue"""
    class_names: tuple[str, ...]
    """names of the classes, by class id"""
    image_size: int
    """side of the square that the network is given, in pixels"""
    threshold: float
    """score at and above which a box counts, 0..1"""
    threshold_from: str
    """how the threshold was chosen, in words"""
    dataset_version: str
    """version of the dataset that it was trained on"""
    recipe: dict[str, Any]
    """the recipe that it was trained by"""
    training: str | None = None
    """how the training ended, in words; None for models from before this was recorded"""


def digest_of(weights: bytes) -> str:
    """Returns the digest that names the model with these weights."""
    return hashlib.sha256(weights).hexdigest()[:DIGITS]


def clock_key(digest: str) -> str:
    """Returns the key of what the clock decided in a model's training (see detectors/clock.py)."""
    return f"{folder(digest)}/clock.json"


def write_model(
    lake: Lake,
    weights: bytes,
    card: ModelCard,
    result: Mapping[str, Any],
    lineage: bytes,
    clock: Mapping[str, Any] | None = None,
) -> None:
    """Stores a model. Writing the same model again changes nothing.

    Args:
        lake: the lake.
        weights: the file of weights.
        card: what it takes to use them.
        result: how the training went (history, seconds ...), of JSON's types.
        lineage: the content of lineage.json, written last: it makes the model complete.
        clock: the content of clock.json, of JSON's types; None: there is none.

    Raises:
        ValueError: the card names another digest than that of the weights.
    """
    if card.digest != digest_of(weights):
        raise ValueError(f"the card names the digest {card.digest}, that of the weights is {digest_of(weights)}")
    files = {
        card.weights: weights,
        "model.json": card.model_dump_json(indent=1).encode(),
        "result.json": json.dumps(dict(result), indent=1).encode(),
        "lineage.json": lineage,
        **({} if clock is None else {"clock.json": json.dumps(clock).encode()}),
    }
    for name in files.keys() - {"lineage.json"}:
        lake.put(f"{folder(card.digest)}/{name}", files[name])
    put_model_manifest(lake, card.digest, files)
    lake.put(f"{folder(card.digest)}/lineage.json", lineage)


def is_complete(lake: Lake, digest: str) -> bool:
    """Whether all files of the model are stored."""
    return lake.exists(f"{folder(digest)}/lineage.json")


def read_card(lake: Lake, digest: str) -> ModelCard:
    """Returns the model's card.

    Raises:
        LakeError: there is no such model.
    """
    return ModelCard.model_validate_json(lake.get(f"{folder(digest)}/model.json"))


def read_result(lake: Lake, digest: str) -> dict[str, Any]:
    """Returns how the model's training went; its `history` has one row an epoch."""
    return dict(json.loads(lake.get(f"{folder(digest)}/result.json")))


def findings_of(lake: Lake, digest: str) -> tuple[TrainingFinding, ...]:
    """What was found wrong with the training of a model; nothing where it was trained before findings were kept."""
    return tuple(TrainingFinding.model_validate(row) for row in read_result(lake, digest).get("findings") or ())


def weights_path(lake: Lake, card: ModelCard) -> Path:
    """Returns a file on this machine that holds the weights, to be read only."""
    return lake.local_path(f"{folder(card.digest)}/{card.weights}")
