"""A model of a few bytes in a lake."""

from __future__ import annotations

from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.lake.models import ModelCard, digest_of, write_model


def stored_model(lake: Lake, weights: bytes = b"weights") -> str:
    """The digest of a model that no detector reads."""
    card = ModelCard(
        digest=digest_of(weights),
        weights="weights.bin",
        detector="none",
        class_names=("scratch", "dent"),
        image_size=64,
        threshold=0.5,
        threshold_from="given",
        dataset_version="0123456789abcdef",
        recipe={},
    )
    write_model(lake, weights, card, {}, b"{}")
    return card.digest
