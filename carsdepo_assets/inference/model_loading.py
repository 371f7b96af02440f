"""Loads the model that a service is to serve; tests give the service another `Load`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from carsdepo_assets.detectors.base import Predictor
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.lake.models import ModelCard
from carsdepo_assets.policy import Policy


@dataclass(frozen=True)
class Loaded:
    """A model that is ready to predict."""

    predictor: Predictor
    card: ModelCard
    runtime: str
    """What computes it, such as openvino; captured with every answer."""


Load = Callable[[Lake, str, Policy], Loaded]


def load(lake: Lake, digest: str, policy: Policy) -> Loaded:
    """Loads a model on the runtime that its export and the policy choose, with one core for each photograph.

    Args:
        lake: where the model is stored.
        digest: of the model's weights.
        policy: which runtimes may serve.

    Raises:
        LakeError: the lake has no such model.
        ExportError: the runtime may not serve it.
    """
    from carsdepo_assets.detectors.export.runtimes import load_served

    served = load_served(lake, digest, policy)
    return Loaded(served.predictor, served.card, served.runtime)
