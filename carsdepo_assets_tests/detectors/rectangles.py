"""A predictor that is exact on the drawings of training/tiny_dataset.py, and cards of models that no detector reads."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.lake.models import ModelCard, digest_of, write_model
from carsdepo_assets.scoring.boxes import Detections


class DarkestRectangle:
    """Finds what is darker than the ground: exact on the drawn photographs, in whatever pixels it is given.

    sizes: of every image that it was asked about, in order.
    """

    def __init__(self, score: float = 0.8) -> None:
        self.score = score
        self.sizes: list[tuple[int, int]] = []

    def predict(self, images: Sequence[np.ndarray], min_score: float = 0.001) -> list[Detections]:
        return [self._one(image) for image in images]

    def _one(self, image: np.ndarray) -> Detections:
        self.sizes.append((image.shape[1], image.shape[0]))
        ys, xs = np.nonzero(image[..., 1] < 100)
        if not len(ys):
            return Detections(np.zeros((0, 4)), np.zeros(0), np.zeros(0, np.int64))
        box = np.array([[xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]], np.float64)
        red = image[ys[0], xs[0], 0] > 100
        return Detections(box, np.array([self.score]), np.array([0 if red else 1]))


def card(digest: str = "aaaa", *, threshold: float = 0.5, image_size: int = 64, dataset: str = "d") -> ModelCard:
    return ModelCard(
        digest=digest,
        weights="weights.pt",
        detector="yolov8n",
        class_names=("scratch", "dent"),
        image_size=image_size,
        threshold=threshold,
        threshold_from="test",
        dataset_version=dataset,
        recipe={},
    )


def made_up_model(lake: Lake, weights: bytes, *, threshold: float = 0.5, dataset: str = "d") -> str:
    """A whole model in the lake, of weights that no detector reads; its digest."""
    model_card = card(digest_of(weights), threshold=threshold, dataset=dataset)
    write_model(lake, weights, model_card, {"history": []}, b"{}")
    return model_card.digest
