"""Serves models that lie in the service's container: a small lake is made around a model, with a ledger that names it.

Everything behind it is as with any lake: manifest and signature are verified when the model is loaded.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.lake.model_files import ModelFilesError, ModelManifest, folder
from carsdepo_assets.registry import ledger
from carsdepo_assets.settings import Settings
from carsdepo_assets.settings_container import ContainedModel, ContainedModels


def served_settings(settings: Settings, contained: ContainedModel, stage: ledger.Stage) -> Settings:
    """Makes the lake below `home` and returns the settings of a service that serves the model from it.

    Args:
        settings: of the container.
        contained: the model and what belongs to it.
        stage: that the service is of.

    Raises:
        ModelFilesError: The folder holds no model with a manifest.
    """
    place = _emptied(settings)
    lake, digest = lake_around(contained.folder, place / "lake")
    action: ledger.Action = "deploy" if stage == "staging" else "promote"
    ledger.record(
        lake,
        stage,
        action,
        digest=digest,
        version=contained.version,
        actor="container",
        reason="the model that this container was started with",
    )
    return _settings(settings, place, lake, contained.policy, contained.verification_key)


def several_settings(settings: Settings, contained: ContainedModels) -> Settings:
    """The settings of a service that gets its models later: its lake below `home` is empty, and has no ledger.

    Args:
        settings: of the container.
        contained: what belongs to the models.
    """
    place = _emptied(settings)
    (place / "lake").mkdir()
    return _settings(settings, place, Lake.open(place / "lake"), contained.policy, contained.verification_key)


def lake_around(source: Path, place: Path) -> tuple[Lake, str]:
    """Makes a lake around a model.

    Args:
        source: the folder with the model's files, manifest and signature.
        place: folder of the lake, which is made.

    Returns:
        The lake and the model's digest.

    Raises:
        ModelFilesError: The folder holds no model with a manifest.
    """
    try:
        manifest = ModelManifest.model_validate_json((source / "manifest.json").read_bytes())
    except (OSError, ValueError) as error:
        raise ModelFilesError(f"{source} holds no model with a manifest: {error}") from error
    lake = Lake.open(place)
    shutil.copytree(source, place / folder(manifest.digest), copy_function=shutil.copyfile)
    return lake, manifest.digest


def _emptied(settings: Settings) -> Path:
    place = settings.home / "contained"
    shutil.rmtree(place, ignore_errors=True)  # of a start before
    place.mkdir(parents=True)
    return place


def _settings(settings: Settings, place: Path, lake: Lake, policy_text: str, key_text: str) -> Settings:
    policy, key = place / "policy.toml", place / "verification.pub"
    policy.write_text(policy_text)
    key.write_text(key_text)
    return settings.model_copy(update={"lake": lake.url, "policy_named": Path(policy), "verification_key": key})
