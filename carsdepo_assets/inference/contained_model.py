"""Serves a model that lies in the service's container: a small lake is made around it, with a ledger that names it.

Everything behind it is as with any lake: manifest and signature are verified when the model is loaded.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.lake.model_files import ModelFilesError, ModelManifest, folder
from carsdepo_assets.registry import ledger
from carsdepo_assets.settings import Settings
from carsdepo_assets.settings_container import ContainedModel


def served_settings(settings: Settings, contained: ContainedModel, stage: ledger.Stage) -> Settings:
    """Makes the lake below `home` and returns the settings of a service that serves the model from it.

    Args:
        settings: of the container.
        contained: the model and what belongs to it.
        stage: that the service is of.

    Raises:
        ModelFilesError: The folder holds no model with a manifest.
    """
    place = settings.home / "contained"
    shutil.rmtree(place, ignore_errors=True)  # of a start before
    place.mkdir(parents=True)
    try:
        manifest = ModelManifest.model_validate_json((contained.folder / "manifest.json").read_bytes())
    except (OSError, ValueError) as error:
        raise ModelFilesError(f"{contained.folder} holds no model with a manifest: {error}") from error
    lake = Lake.open(place / "lake")
    shutil.copytree(contained.folder, place / "lake" / folder(manifest.digest), copy_function=shutil.copyfile)
    policy, key = place / "policy.toml", place / "verification.pub"
    policy.write_text(contained.policy)
    key.write_text(contained.verification_key)
    action: ledger.Action = "deploy" if stage == "staging" else "promote"
    ledger.record(
        lake,
        stage,
        action,
        digest=manifest.digest,
        version=contained.version,
        actor="container",
        reason="the model that this container was started with",
    )
    return settings.model_copy(update={"lake": lake.url, "policy_named": Path(policy), "verification_key": key})
