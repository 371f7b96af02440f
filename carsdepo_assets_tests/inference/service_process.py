"""`python -m carsdepo_assets_tests.inference.service_process STAGE`: the real service with a model that loads at once.

The model looks for red pixels, and its weights are a few lines of JSON in the lake; everything else is the product's.
Models of another detector are loaded as the product does. Settings come from the environment, the port is a free one.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence

import numpy as np

from carsdepo_assets.commands.serving import run
from carsdepo_assets.inference.model_loading import Loaded, load
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.lake.models import read_card, weights_path
from carsdepo_assets.policy import Policy
from carsdepo_assets.scoring.boxes import Detections
from carsdepo_assets.settings import Settings
from carsdepo_assets_tests.lake.stored_model import stored_model


class RedPixels:
    """One box around the red pixels (red over 200, green and blue under 90), its score their share of the box."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def predict(self, images: Sequence[np.ndarray], min_score: float = 0.001) -> list[Detections]:
        return [self._one(image, min_score) for image in images]

    def _one(self, rgb: np.ndarray, min_score: float) -> Detections:
        time.sleep(self.seconds)
        rows, columns = np.nonzero((rgb[..., 0] > 200) & (rgb[..., 1] < 90) & (rgb[..., 2] < 90))
        if not len(rows):
            return Detections(np.empty((0, 4)), np.empty(0), np.empty(0, np.int64))
        x1, y1, x2, y2 = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
        score = len(rows) / ((x2 - x1) * (y2 - y1))
        keep = slice(0, int(score >= min_score))
        box = np.array([[x1, y1, x2, y2]], np.float64)
        return Detections(box[keep], np.array([score])[keep], np.zeros(1, np.int64)[keep])


def put_model(lake: Lake, name: str, threshold: float = 0.5, seconds: float = 0.0) -> str:
    """A model of its own digest in the lake."""
    weights = json.dumps({"name": name, "seconds": seconds}).encode()
    return stored_model(lake, weights, weights="weights.json", detector="red_pixels", threshold=threshold)


def load_red_pixels(lake: Lake, digest: str, policy: Policy) -> Loaded:
    card = read_card(lake, digest)
    if card.detector != "red_pixels":
        return load(lake, digest, policy, verification_key=Settings.read().verification_key)
    colours = json.loads(weights_path(lake, card).read_bytes())
    return Loaded(RedPixels(colours["seconds"]), card, "numpy")


if __name__ == "__main__":
    sys.exit(run(Settings.read(), sys.argv[1], port=0, load=load_red_pixels))  # type: ignore[arg-type]
