"""Model versions in MLflow's registry; the weights themselves lie in the lake."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from carsdepo_assets.registry.tracking import Tracking

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion as MlflowVersion

MODEL_NAME = "carsdepo"
CANDIDATE = "candidate"


class RegistryError(LookupError):
    """No such version, or none at all."""


@dataclass(frozen=True)
class ModelVersion:
    """A registered version of the model."""

    version: int
    """Its number in the registry."""
    digest: str
    """Digest of its weights."""
    dataset_version: str
    """The dataset that it was trained on."""
    lake_uri: str
    """The folder of weights, card and lineage: a key of the lake where that is a folder, else a URL."""
    lineage_uri: str
    """The file lineage.json, likewise."""
    figures: Mapping[str, float]
    """Figures on the test photographs by name (map50, precision and so on)."""
    run_id: str | None = None
    """The run in MLflow that trained it."""
    aliases: tuple[str, ...] = ()
    """Its aliases, such as `candidate` and `production`."""


@dataclass(frozen=True)
class RegistryContents:
    """What MLflow's registry had at one look."""

    versions: list[ModelVersion]
    """Those that a training registered, oldest first."""
    foreign: list[int]
    """Numbers of those that no training registered, or whose tags somebody took away: they name no model."""
    staged: dict[int, str]
    """By their numbers those with one of MLflow's old stages, which nothing here sets or reads."""
    alias_holders: dict[str, int]
    """The version that has each alias, whoever made it."""


def register(
    tracking: Tracking,
    *,
    digest: str,
    lake_url: str,
    dataset_version: str,
    detector: str,
    figures: Mapping[str, float],
    run_id: str | None,
    alias: str | None = CANDIDATE,
) -> ModelVersion:
    """Registers a model's weights as a version. The same digest again keeps its version and gets the new figures.

    Args:
        tracking: MLflow.
        digest: Digest of the weights.
        lake_url: URL of the lake that holds them.
        dataset_version: The dataset that the model was trained on.
        detector: The kind of detector.
        figures: Figures on the test photographs by name.
        run_id: The run in MLflow that trained it; None where there is none.
        alias: Alias that the version gets; None for none.

    Returns:
        The version.
    """
    from mlflow.exceptions import MlflowException

    client = tracking.client
    lake_uri = f"models/{digest}"
    if lake_url.startswith("s3://"):
        lake_uri = f"{lake_url.rstrip('/')}/{lake_uri}"
    tags = {
        "digest": digest,
        "lake_uri": lake_uri,
        "lineage_uri": f"{lake_uri}/lineage.json",
        "dataset_version": dataset_version,
        "detector": detector,
        "figures": json.dumps(dict(figures), sort_keys=True),
    }
    with tracking.lock():
        try:
            client.get_registered_model(MODEL_NAME)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            client.create_registered_model(MODEL_NAME, description="Scratches and dents on cars.")
        registered = _by_digest(tracking, digest)
        if registered is None:
            source = lake_uri
            if run_id is not None:
                # MLflow's server refuses sources outside its own runs: a small artifact of the run names the lake.
                source = tracking.log_text(run_id, json.dumps(tags, indent=1, sort_keys=True), "model/where.json")
                source = source.rsplit("/", 1)[0]
            created = client.create_model_version(MODEL_NAME, source, run_id=run_id, tags=tags, await_creation_for=0)
            number = int(created.version)
        else:
            number = registered.version
            for key, value in tags.items():
                client.set_model_version_tag(MODEL_NAME, str(number), key, value)
        if alias is not None:
            client.set_registered_model_alias(MODEL_NAME, alias, str(number))
    return get(tracking, number)


def get(tracking: Tracking, version: int | str | Literal["latest"]) -> ModelVersion:
    """Finds a version.

    Args:
        tracking: MLflow.
        version: Its number, its digest or at least the digest's first 4 digits; `latest` is the newest registered
            version, whatever its figures (`model_in_use` chooses one to predict with).

    Raises:
        RegistryError: There is no such version, or several; the message lists those that there are.
    """
    if version == "latest":
        newest = latest(tracking)
        if newest is None:
            raise RegistryError("No model is registered yet. `carsdepo train` makes one.")
        return newest
    registered = versions(tracking)
    text = str(version)
    matches = [v for v in registered if str(v.version) == text]
    matches = matches or [v for v in registered if len(text) >= 4 and v.digest.startswith(text)]
    if len(matches) == 1:
        return matches[0]
    have = ", ".join(f"{v.version} ({v.digest})" for v in registered) or "none"
    raise RegistryError(
        f"{'Several models begin with' if matches else 'No model version'} {text!r}. Registered: {have}."
    )


def latest(tracking: Tracking) -> ModelVersion | None:
    """The newest registered version; None where there is none."""
    registered = versions(tracking)
    return registered[-1] if registered else None


def versions(tracking: Tracking) -> list[ModelVersion]:
    """All versions that a training registered, oldest first; those that somebody made by hand are left out."""
    return read_registry(tracking).versions


def read_registry(tracking: Tracking) -> RegistryContents:
    """All that the registry has, by one look."""
    everything: list[MlflowVersion] = []
    token: str | None = None
    while True:
        page = tracking.client.search_model_versions(f"name = '{MODEL_NAME}'", max_results=1000, page_token=token)
        everything += page
        token = page.token
        if not token:
            break
    everything.sort(key=lambda v: int(v.version))
    # MLflow's search leaves the aliases out of the versions that it finds.
    holders = tracking.client.get_registered_model(MODEL_NAME).aliases if everything else {}
    aliases: dict[str, list[str]] = {}
    for alias, number in holders.items():
        aliases.setdefault(str(number), []).append(alias)
    ours = {int(v.version): _version(v, aliases) for v in everything}
    stages = {int(v.version): str(v.current_stage or "None") for v in everything}
    return RegistryContents(
        versions=[version for version in ours.values() if version is not None],
        foreign=[number for number, version in ours.items() if version is None],
        staged={number: stage for number, stage in stages.items() if stage in ("Staging", "Production")},
        alias_holders={alias: int(number) for alias, number in holders.items()},
    )


def _by_digest(tracking: Tracking, digest: str) -> ModelVersion | None:
    matches = tracking.client.search_model_versions(f"name = '{MODEL_NAME}' and tags.digest = '{digest}'")
    return _version(matches[0], {}) if matches else None


def _version(version: MlflowVersion, aliases: Mapping[str, list[str]]) -> ModelVersion | None:
    """None for a version without the tags of `register`."""
    tags = version.tags
    try:
        figures = json.loads(tags["figures"])
    except (KeyError, ValueError):
        return None
    if not all(tags.get(name) for name in ("digest", "dataset_version", "lake_uri", "lineage_uri")):
        return None
    return ModelVersion(
        version=int(version.version),
        digest=tags["digest"],
        dataset_version=tags["dataset_version"],
        lake_uri=tags["lake_uri"],
        lineage_uri=tags["lineage_uri"],
        figures=figures,
        run_id=version.run_id or None,
        aliases=tuple(sorted(aliases.get(str(version.version), []))),
    )
