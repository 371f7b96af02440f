"""Reads the file that says where jobs run: TOML with `place`, `by_asset` and a section for each place on AWS."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from carsdepo_assets.compute.choice import PLACES, ComputeChoice
from carsdepo_assets.compute.ecs import EcsCompute
from carsdepo_assets.compute.local import LocalCompute
from carsdepo_assets.compute.sagemaker import SageMakerCompute
from carsdepo_assets.compute.target import ComputeTarget
from carsdepo_assets.toml_files import read_toml

_SECTIONS: dict[str, type[ComputeTarget]] = {"ecs": EcsCompute, "sagemaker": SageMakerCompute}


class ComputeSettingsError(ValueError):
    """The file cannot be read, or holds something else; the message names file and key."""


def read_compute(
    path: Path | None, local: LocalCompute, mlflow: str = "", of_tasks: Mapping[str, str] | None = None
) -> ComputeChoice:
    """The compute target of an installation.

    Args:
        path: the file; None: every job runs on this machine.
        local: this machine.
        mlflow: the store of this installation's MLflow runs, without a password; empty: SQLite.
        of_tasks: variables that tasks on ECS get where the file sets no others. (SageMaker measures its jobs itself.)

    Raises:
        ComputeSettingsError: the file is missing or wrong.
    """
    if path is None:
        return ComputeChoice(local=local, mlflow=mlflow)
    content = read_toml(path, "CARSDEPO_COMPUTE", ComputeSettingsError)
    strange = sorted(content.keys() - {"place", "by_asset", *_SECTIONS})
    if strange:
        raise ComputeSettingsError(
            f"{path}: {strange[0]}: no such key; there are place, by_asset, {' and '.join(_SECTIONS)}."
        )
    sections: dict[str, Any] = {
        name: _section(path, name, kind, _with(of_tasks or {}, content[name]) if name == "ecs" else content[name])
        for name, kind in _SECTIONS.items()
        if name in content
    }
    place, by_asset = content.get("place", "local"), content.get("by_asset", {})
    if not isinstance(by_asset, dict):
        raise ComputeSettingsError(f'{path}: by_asset: must be a table, such as candidate_model = "sagemaker".')
    for key, chosen in [("place", place), *((f"by_asset.{asset}", value) for asset, value in by_asset.items())]:
        if chosen not in PLACES:
            raise ComputeSettingsError(f"{path}: {key}: {chosen!r} is no place; there are {', '.join(PLACES)}.")
        if chosen != "local" and chosen not in sections:
            raise ComputeSettingsError(f"{path}: {key} is {chosen}, and the section [{chosen}] is missing.")
    return ComputeChoice(place=place, by_asset=by_asset, local=local, mlflow=mlflow, **sections)


def _with(variables: Mapping[str, str], content: Any) -> Any:
    """A section with further variables, below its own; what is no section, or has no table of them, is left alone."""
    own = content.get("variables", {}) if isinstance(content, dict) else None
    return {**content, "variables": {**variables, **own}} if variables and isinstance(own, dict) else content


def check_assets(compute: ComputeChoice, assets: Collection[str]) -> None:
    """Looks whether by_asset names assets that there are: the job of a misspelt one would run at `place` unnoticed.

    Args:
        compute: the compute target of an installation.
        assets: the names of all assets.

    Raises:
        ComputeSettingsError: there is no asset of a name.
    """
    strange = sorted(compute.by_asset.keys() - set(assets))
    if strange:
        alike = difflib.get_close_matches(strange[0], assets, n=1)
        raise ComputeSettingsError(
            f"CARSDEPO_COMPUTE's file: by_asset.{strange[0]}: there is no such asset"
            + (f"; is {alike[0]} meant?" if alike else ": Dagster's page of assets lists them.")
        )


def _section(path: Path, name: str, kind: type[ComputeTarget], content: Any) -> ComputeTarget:
    if not isinstance(content, dict):
        raise ComputeSettingsError(f"{path}: {name}: must be a section.")
    strange = sorted(content.keys() - kind.model_fields.keys())
    if strange:
        raise ComputeSettingsError(
            f"{path}: {name}.{strange[0]}: no such key; there are {', '.join(sorted(kind.model_fields))}."
        )
    missing = [key for key, field in kind.model_fields.items() if field.is_required() and key not in content]
    if missing:
        meaning = kind.model_fields[missing[0]].description
        raise ComputeSettingsError(f"{path}: {name}.{missing[0]}: is missing: {meaning}.")
    try:
        target = kind(**content)
    except ValidationError as error:
        problems = "; ".join(f"{name}.{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise ComputeSettingsError(f"{path}: {problems}.") from error
    if mistakes := target.mistakes():
        raise ComputeSettingsError(f"{path}: {' '.join(f'{name}.{text}' for text in mistakes)}")
    return target
