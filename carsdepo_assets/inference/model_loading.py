"""Loads the model that a service is to serve; tests give the service another `Load`."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
from numpy.typing import NDArray

from carsdepo_assets.detectors.base import Predictor
from carsdepo_assets.imaging.resize import Letterboxed
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.lake.model_files import signature_key
from carsdepo_assets.lake.models import ModelCard
from carsdepo_assets.policy import Policy
from carsdepo_assets.scoring.boxes import Detections

if TYPE_CHECKING:
    from carsdepo_assets.detectors.base import LetterboxPredictor

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Loaded:
    """A model that is ready to predict."""

    predictor: Predictor
    card: ModelCard
    runtime: str
    """What computes it, such as openvino; captured with every answer."""

    @property
    def side(self) -> int | None:
        """Side of the square that the predictor takes, in pixels; None where it takes whole photographs."""
        if not hasattr(self.predictor, "predict_letterboxed"):
            return None
        return cast("LetterboxPredictor", self.predictor).image_size

    def predict(self, image: Letterboxed | NDArray[np.uint8], min_score: float) -> Detections:
        """The boxes of one photograph, in its own pixels."""
        if isinstance(image, Letterboxed):
            return cast("LetterboxPredictor", self.predictor).predict_letterboxed(image, min_score)
        return self.predictor.predict([image], min_score)[0]


Load = Callable[[Lake, str, Policy], Loaded]


def load(lake: Lake, digest: str, policy: Policy, *, verification_key: Path | None = None) -> Loaded:
    """Verifies a model and loads it on the runtime that its export and the policy choose, one core for a photograph.

    Args:
        lake: where the model is stored.
        digest: of the model's weights.
        policy: which runtimes may serve, and whether the model must be signed.
        verification_key: the public key; a model that is signed is verified with it whatever the policy says.

    Raises:
        LakeError: the lake has no such model.
        ModelFilesError: a file of the model was changed, added or taken away, or its signature does not stand.
        SigningKeyError: a signature is to be verified and the key cannot be read.
        ExportError: the model has no export, or the runtime may not serve it.
    """
    from carsdepo_assets.detectors.export.runtimes import load_served
    from carsdepo_assets.registry.signatures import SigningKeyError, verify_manifest

    if policy.inference.require_signature or lake.exists(signature_key(digest)):
        if verification_key is None:
            raise SigningKeyError("No public key was given to verify models with: set CARSDEPO_VERIFICATION_KEY.")
        verify_manifest(lake, digest, verification_key)
    else:
        logger.warning("model %s is not signed, and policy.inference.require_signature is off", digest)
    served = load_served(lake, digest, policy)
    return Loaded(served.predictor, served.card, served.runtime)
