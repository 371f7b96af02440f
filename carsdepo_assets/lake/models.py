"""Models as they lie in the lake: models/<digest>/ with weights, model.json, result.json and, last, lineage.json.

digest: first 16 hex digits of the weights' sha256. A folder without lineage.json is not a model yet.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from carsdepo_assets.lake.lake import Lake


class ModelCard(BaseModel):
    """What it takes to use the weights."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    digest: str
    weights: str  # file name inside models/<digest>/
    detector: str
    class_names: tuple[str, ...]
    image_size: int
    threshold: float  # score at and above which a box counts
    threshold_from: str  # what chose it
    dataset_version: str
    recipe: dict[str, Any]
    training: str | None = None  # how it ended, in words; None: a model of before this was recorded


def folder(digest: str) -> str:
    return f"models/{digest}"


def digest_of(weights: bytes) -> str:
    return hashlib.sha256(weights).hexdigest()[:16]


def write_model(lake: Lake, weights: bytes, card: ModelCard, result: Mapping[str, Any], lineage: bytes) -> None:
    """result: how the training went (history, seconds ...), as JSON. Writing the same model again changes nothing.

    Raises ValueError when the card's digest is not that of the weights.
    """
    if card.digest != digest_of(weights):
        raise ValueError(f"the card says {card.digest}, the weights are {digest_of(weights)}")
    lake.put(f"{folder(card.digest)}/{card.weights}", weights)
    lake.put(f"{folder(card.digest)}/model.json", card.model_dump_json(indent=1).encode())
    lake.put(f"{folder(card.digest)}/result.json", json.dumps(dict(result), indent=1).encode())
    lake.put(f"{folder(card.digest)}/lineage.json", lineage)


def is_complete(lake: Lake, digest: str) -> bool:
    return lake.exists(f"{folder(digest)}/lineage.json")


def read_card(lake: Lake, digest: str) -> ModelCard:
    """Raises LakeError when there is no such model."""
    return ModelCard.model_validate_json(lake.get(f"{folder(digest)}/model.json"))


def read_result(lake: Lake, digest: str) -> dict[str, Any]:
    """How its training went; `history` has one row an epoch."""
    return dict(json.loads(lake.get(f"{folder(digest)}/result.json")))


def weights_path(lake: Lake, card: ModelCard) -> Path:
    """The weights as a file of this machine."""
    return lake.local_path(f"{folder(card.digest)}/{card.weights}")
