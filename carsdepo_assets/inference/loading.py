"""The one place where the service gets a model from: tests put another `Load` in its stead."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from carsdepo_assets.detectors.base import Predictor
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.lake.models import ModelCard
from carsdepo_assets.policy import Policy


@dataclass(frozen=True)
class Loaded:
    """A model ready to predict. runtime: what computes it, as captured with every answer."""

    predictor: Predictor
    card: ModelCard
    runtime: str


Load = Callable[[Lake, str, Policy], Loaded]


def load(lake: Lake, digest: str, policy: Policy) -> Loaded:
    """The model on the runtime that its export and the policy choose; one core a photograph, requests side by side.

    Raises LakeError when the lake has no such model, ExportError when the runtime may not serve it.
    """
    from carsdepo_assets.detectors.export.runtimes import load_served

    served = load_served(lake, digest, policy)
    return Loaded(served.predictor, served.card, served.runtime)
