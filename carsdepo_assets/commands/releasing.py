"""`carsdepo approve`, `reject` and `rollback`: a person's word on a model, by the graph's own jobs."""

from __future__ import annotations

from typing import Any

from carsdepo_assets.commands.pipeline import Pipeline
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.registry import ledger
from carsdepo_assets.registry.models import ModelVersion, get


def approve(pipeline: Pipeline, version: str, reason: str) -> str:
    """Approves the version and promotes it at once; a sentence on what came of it.

    version: a number, a digest (or its first digits) or latest. Raises RegistryError, ValueError without a reason,
    PipelineError where production's service does not follow.
    """
    found = _version(pipeline, version)
    _speak(pipeline, "approve", found, reason)
    pipeline.run("promote", ops={"production_model": {"config": {"version": found.digest}}})
    served = ledger.desired(_lake(pipeline), "production")
    if served is not None and served.digest == found.digest:
        return f"Version {found.version} ({found.digest}) is approved, and production serves it."
    return (
        f"Version {found.version} ({found.digest}) is approved and not promoted yet: it has not been found right at "
        "staging. The job `release` does that, by itself where `carsdepo dev` runs; the approval stands."
    )


def reject(pipeline: Pipeline, version: str, reason: str) -> str:
    """Rejects the version: no machine promotes it until it is approved. Raises RegistryError, ValueError."""
    found = _version(pipeline, version)
    _speak(pipeline, "reject", found, reason)
    served = ledger.desired(_lake(pipeline), "production")
    more = ""
    if served is not None and served.digest == found.digest:
        more = ' Production still serves it: `carsdepo rollback --stage production --reason "..."` goes back.'
    return f"Version {found.version} ({found.digest}) is rejected: no machine promotes it.{more}"


def rollback(pipeline: Pipeline, reason: str) -> str:
    """Production back to the model before; the present one is barred from automatic promotion.

    Raises ValueError without a reason, PipelineError where there is none before or the service does not follow.
    """
    _reason(reason)
    config: dict[str, Any] = {"reason": reason, "actor": ledger.person()}
    pipeline.run("rollback_production", ops={"rollback": {"config": config}})
    served = ledger.desired(_lake(pipeline), "production")
    assert served is not None
    return (
        f"Production serves {_named(served.version, served.digest)} again; {served.previous} is barred until a person "
        "approves it."
    )


def _speak(pipeline: Pipeline, action: str, version: ModelVersion, reason: str) -> None:
    _reason(reason)
    config = {"version": version.digest, "reason": reason, "actor": ledger.person()}
    pipeline.run(f"{action}_model", ops={action: {"config": config}})


def _reason(reason: str) -> None:
    if not reason.strip():
        raise ValueError("Say why: --reason must not be empty. It is kept in the ledger.")


def _version(pipeline: Pipeline, version: str) -> ModelVersion:
    from carsdepo_assets.environments import resources

    return get(resources(pipeline.settings)["tracking"].tracking(), version)


def _lake(pipeline: Pipeline) -> Lake:
    return Lake.open(pipeline.settings.lake)


def _named(version: int | None, digest: str | None) -> str:
    return f"model {digest}" if version is None else f"version {version} ({digest})"
