"""Chooses the version for staging, exports it and enters its deployment in the ledger."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from carsdepo_assets.detectors.export.export_card import ExportCard, require_export
from carsdepo_assets.evaluation.golden_photographs import golden_photographs
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.lake.model_files import check_model_files
from carsdepo_assets.policy import Policy
from carsdepo_assets.registry import ledger
from carsdepo_assets.registry.models import CANDIDATE, ModelVersion, RegistryError, get, versions
from carsdepo_assets.registry.signatures import SigningKeys, verify_manifest
from carsdepo_assets.registry.tracking import Tracking


@dataclass(frozen=True)
class StagedVersion:
    """A version that staging is to serve."""

    version: ModelVersion
    export: ExportCard
    event: ledger.Event
    """The ledger's entry."""
    reused: bool
    """Staging was to serve this model already, so nothing was entered."""


def candidate(tracking: Tracking) -> ModelVersion | None:
    """The newest registered version with the alias `candidate`; None where there is none."""
    candidates = [v for v in versions(tracking) if CANDIDATE in v.aliases]
    return candidates[-1] if candidates else None


def asked_version(tracking: Tracking, version: str | None) -> ModelVersion:
    """Finds a registered version.

    Args:
        tracking: the registry.
        version: its number, its digest (or the first digits of it) or `latest`; None: the candidate.

    Raises:
        RegistryError: there is no such version.
    """
    if version is not None:
        return get(tracking, version)
    newest = candidate(tracking)
    if newest is None:
        raise RegistryError(
            "No registered version has the alias `candidate`: train one that meets the floor, approve one "
            '(`carsdepo approve VERSION`), or name one in the run\'s configuration (`version: "1"` of '
            "staging_deployment)."
        )
    return newest


def export_here(lake: Lake, digest: str, policy: Policy) -> None:
    """Exports a model in this process; it raises what export_model and golden_photographs raise."""
    from carsdepo_assets.detectors.export.export_model import export_model

    photographs = golden_photographs(lake, policy, policy.release.validation_photographs)
    export_model(lake, digest, policy, [p.rgb for p in photographs])


def deploy(
    lake: Lake,
    version: ModelVersion,
    policy: Policy,
    dagster_run_id: str,
    keys: SigningKeys,
    *,
    actor: str | None = None,
    export: Callable[[Lake, str, Policy], object] = export_here,
) -> StagedVersion:
    """Exports a version's model, tests the export on golden photographs, signs it, and has staging serve it.

    Called again for the same version it changes nothing. A model whose files or signature are wrong, exports aside, is
    neither exported nor signed.

    Args:
        lake: where models and ledger are.
        version: to deploy.
        policy: the policy in force.
        dagster_run_id: of the run that deploys.
        keys: what models are signed with.
        actor: who deploys, for the ledger; None: the policy.
        export: exports the model, in this process or elsewhere.

    Raises:
        ExportError: the model has no export that may serve.
        NoGoldenSet: there are no photographs to test the export on.
    """
    check_model_files(lake, version.digest, with_exports=False)
    verify_manifest(lake, version.digest, keys.public)
    export(lake, version.digest, policy)
    card = require_export(lake, version.digest)
    keys.sign(lake, version.digest)
    standing = ledger.desired(lake, "staging")
    if standing is not None and standing.digest == version.digest:
        return StagedVersion(version, card, standing, True)
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
    return StagedVersion(version, card, event, False)
