"""Model versions: MLflow's registry says which there are; the weights lie in the lake."""

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
    """figures: test figures by name (map50, precision ...). lake_uri: the folder of weights, card and lineage.

    lake_uri and lineage_uri are keys of the lake where that is a folder, which may be moved, else whole URLs.
    """

    version: int
    digest: str
    dataset_version: str
    lake_uri: str
    lineage_uri: str
    figures: Mapping[str, float]
    run_id: str | None = None
    aliases: tuple[str, ...] = ()


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
    """The version of these weights, with the alias, if any. Again for the same digest: the same version, new figures.

    The source is a small artifact of the run, naming the lake: MLflow's server refuses sources outside its own runs.
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
        found = _by_digest(tracking, digest)
        if found is None:
            source = lake_uri
            if run_id is not None:
                source = tracking.log_text(run_id, json.dumps(tags, indent=1, sort_keys=True), "model/where.json")
                source = source.rsplit("/", 1)[0]
            made = client.create_model_version(MODEL_NAME, source, run_id=run_id, tags=tags, await_creation_for=0)
            number = int(made.version)
        else:
            number = found.version
            for key, value in tags.items():
                client.set_model_version_tag(MODEL_NAME, str(number), key, value)
        if alias is not None:
            client.set_registered_model_alias(MODEL_NAME, alias, str(number))
    return get(tracking, number)


def get(tracking: Tracking, version: int | str | Literal["latest"]) -> ModelVersion:
    """A version by its number, by its digest (or its first digits) or `latest`: the newest registered, whatever its
    figures (in_use.model_in_use chooses one to predict with). RegistryError lists those there are."""
    if version == "latest":
        newest = latest(tracking)
        if newest is None:
            raise RegistryError("No model is registered yet. `carsdepo train` makes one.")
        return newest
    known = versions(tracking)
    text = str(version)
    found = [v for v in known if str(v.version) == text]
    found = found or [v for v in known if len(text) >= 4 and v.digest.startswith(text)]
    if len(found) == 1:
        return found[0]
    have = ", ".join(f"{v.version} ({v.digest})" for v in known) or "none"
    raise RegistryError(f"{'Several models begin with' if found else 'No model version'} {text!r}. Registered: {have}.")


def latest(tracking: Tracking) -> ModelVersion | None:
    known = versions(tracking)
    return known[-1] if known else None


def versions(tracking: Tracking) -> list[ModelVersion]:
    """All, oldest first."""
    found: list[MlflowVersion] = []
    token: str | None = None
    while True:
        page = tracking.client.search_model_versions(f"name = '{MODEL_NAME}'", max_results=1000, page_token=token)
        found += page
        token = page.token
        if not token:
            break
    aliases = _aliases(tracking) if found else {}
    return sorted((_version(v, aliases) for v in found), key=lambda v: v.version)


def _by_digest(tracking: Tracking, digest: str) -> ModelVersion | None:
    found = tracking.client.search_model_versions(f"name = '{MODEL_NAME}' and tags.digest = '{digest}'")
    return _version(found[0], {}) if found else None


def _aliases(tracking: Tracking) -> dict[str, list[str]]:
    """{version: its aliases}; MLflow's search leaves them out of the versions it finds."""
    named: dict[str, list[str]] = {}
    for alias, number in tracking.client.get_registered_model(MODEL_NAME).aliases.items():
        named.setdefault(str(number), []).append(alias)
    return named


def _version(found: MlflowVersion, aliases: Mapping[str, list[str]]) -> ModelVersion:
    tags = found.tags
    return ModelVersion(
        version=int(found.version),
        digest=tags["digest"],
        dataset_version=tags["dataset_version"],
        lake_uri=tags["lake_uri"],
        lineage_uri=tags["lineage_uri"],
        figures=json.loads(tags["figures"]),
        run_id=found.run_id or None,
        aliases=tuple(sorted(aliases.get(str(found.version), []))),
    )
