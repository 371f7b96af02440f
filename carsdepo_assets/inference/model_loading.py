"""Loads the model that a service is to serve; tests give the service another `Load`."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from carsdepo_assets.detectors.base import Predictor
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.lake.model_files import signature_key
from carsdepo_assets.lake.models import ModelCard
from carsdepo_assets.policy import Policy

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Loaded:
    """A model that is ready to predict."""

    predictor: Predictor
    card: ModelCard
    runtime: str
    """What computes it, such as openvino; captured with every answer."""


Load = Callable[[Lake, str, Policy], Loaded]


def load(
    lake: Lake,
    digest: str,
    policy: Policy,
    *,
    verification_key: Path | None = None,
    speeds: Path | None = None,
    may_measure: bool = True,
) -> Loaded:
    """Verifies a model and loads it on the runtime that its export, the policy and this machine's speed choose.

    Args:
        lake: where the model is stored.
        digest: of the model's weights.
        policy: which runtimes may serve, and whether the model must be signed.
        verification_key: the public key; a model that is signed is verified with it whatever the policy says.
        speeds: a file of what was measured on this machine; None: the export chooses, with one core for a photograph.
        may_measure: whether speeds that the file does not have are measured, which takes seconds.

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
    served = load_served(lake, digest, policy, speeds=speeds, may_measure=may_measure)
    return Loaded(served.predictor, served.card, served.runtime)


def loader(verification_key: Path, speeds: Path) -> Load:
    """Returns how a service loads its models.

    Speeds are measured for the first model only, before there is one that serves: a release or a rollback waits for no
    measurement.
    """
    is_first = True

    def load_next(lake: Lake, digest: str, policy: Policy) -> Loaded:
        nonlocal is_first
        loaded = load(lake, digest, policy, verification_key=verification_key, speeds=speeds, may_measure=is_first)
        is_first = False
        return loaded

    return load_next
