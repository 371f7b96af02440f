"""`carsdepo sign`: a person vouches for a model's files as they are in the lake."""

from __future__ import annotations

from carsdepo_assets.environments import resources
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.lake.model_files import adopt_model_files, read_model_manifest
from carsdepo_assets.registry.models import get
from carsdepo_assets.settings import Settings


def sign(settings: Settings, version: str) -> str:
    """Signs a registered model. One of an older release gets its manifest first, of its files as they are.

    Args:
        settings: The installation.
        version: A version number, a digest (or its first digits), or "latest".

    Returns:
        A sentence on the outcome.

    Raises:
        RegistryError: There is no such model.
        ModelFilesError: A file of the model is not the one of its manifest.
        SigningKeyError: The key cannot be read or made.
    """
    used = resources(settings)
    lake, model = Lake.open(settings.lake), get(used["tracking"].tracking(), version)
    first = read_model_manifest(lake, model.digest) is None
    if first:
        adopt_model_files(lake, model.digest)
    used["signing"].key_pair().sign(lake, model.digest)
    more = " It had no manifest: one was made of its files as they are." if first else ""
    return f"Version {model.version} ({model.digest}) is signed with {settings.signing_key}.{more}"
