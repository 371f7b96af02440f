"""A detector from the lake, ready to predict."""

from __future__ import annotations

from carsdepo_assets.detectors.base import Predictor
from carsdepo_assets.detectors.catalogue import get_detector
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.lake.models import ModelCard, read_card, weights_path


def load_model(lake: Lake, digest: str, device: str = "cpu") -> tuple[Predictor, ModelCard]:
    """Raises LakeError when the lake has no such model."""
    card = read_card(lake, digest)
    weights = weights_path(lake, card)
    return get_detector(card.detector).load(weights, card.class_names, card.image_size, device), card
