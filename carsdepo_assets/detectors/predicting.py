"""Asks any predictor about one photograph, letterboxed where the predictor says what its network takes."""

from __future__ import annotations

from typing import cast

from carsdepo_assets.detectors.base import LetterboxPredictor, Predictor
from carsdepo_assets.imaging.resize import Letterboxed, NetworkInput
from carsdepo_assets.imaging.serving import NetworkImage
from carsdepo_assets.scoring.boxes import Detections


def network_of(predictor: Predictor) -> NetworkInput | None:
    """What the predictor's network takes; None where the predictor is given whole photographs."""
    return cast("NetworkInput | None", getattr(predictor, "network", None))


def predict_image(predictor: Predictor, image: NetworkImage, min_score: float = 0.001) -> Detections:
    """The boxes of one photograph, in its own pixels; see Predictor.predict.

    Args:
        predictor: The model.
        image: The photograph as `imaging.serving.served` gives it for this predictor's network.
        min_score: Boxes with a lower score are left out.
    """
    if isinstance(image, Letterboxed):
        return cast("LetterboxPredictor", predictor).predict_letterboxed(image, min_score)
    return predictor.predict([image], min_score)[0]
