"""Which version goes to staging, and the ledger's word that it does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from carsdepo_assets.evaluation.golden_photographs import golden_photographs
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.policy import Policy
from carsdepo_assets.registry import ledger
from carsdepo_assets.registry.models import CANDIDATE, ModelVersion, RegistryError, get, versions
from carsdepo_assets.registry.tracking import Tracking

if TYPE_CHECKING:
    from carsdepo_assets.detectors.export.export_card import ExportCard


@dataclass(frozen=True)
class StagedVersion:
    """reused: the ledger had staging serve this model already."""

    version: ModelVersion
    export: ExportCard
    event: ledger.Event
    reused: bool


def candidate(tracking: Tracking) -> ModelVersion | None:
    """The newest version under the alias `candidate`."""
    found = [v for v in versions(tracking) if CANDIDATE in v.aliases]
    return found[-1] if found else None


def asked_version(tracking: Tracking, version: str | None) -> ModelVersion:
    """The version asked for, by number, digest or `latest`; None: the candidate. Raises RegistryError."""
    if version is not None:
        return get(tracking, version)
    found = candidate(tracking)
    if found is None:
        raise RegistryError(
            "No registered version has the alias `candidate`: materialize `registered_model`, or give a version."
        )
    return found


def deploy(
    lake: Lake, version: ModelVersion, policy: Policy, dagster_run_id: str, *, actor: str | None = None
) -> StagedVersion:
    """Exports the model, compared on golden photographs, and has staging serve it. Again: changes nothing.

    Raises what export_model and golden_photographs raise.
    """
    from carsdepo_assets.detectors.export.export_model import export_model

    photographs = golden_photographs(lake, policy, policy.release.validation_photographs)
    export = export_model(lake, version.digest, policy, [p.rgb for p in photographs])
    standing = ledger.desired(lake, "staging")
    if standing is not None and standing.digest == version.digest:
        return StagedVersion(version, export, standing, True)
    event = ledger.record(
        lake,
        "staging",
        "deploy",
        digest=version.digest,
        version=version.version,
        actor=actor or ledger.machine(policy.digest()),
        reason=f"version {version.version} is a candidate for production",
        policy_digest=policy.digest(),
        dagster_run_id=dagster_run_id,
        event_id=f"deploy:{dagster_run_id}:{version.digest}",
    )
    return StagedVersion(version, export, event, False)
