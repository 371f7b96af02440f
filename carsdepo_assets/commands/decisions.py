"""`carsdepo approve`, `reject` and `rollback`: a person's decision on a model, carried out by jobs of the graph."""

from __future__ import annotations

import secrets
from typing import Any

from carsdepo_assets.commands.pipeline import Pipeline
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.policy import Policy
from carsdepo_assets.registry import ledger
from carsdepo_assets.registry.models import ModelVersion, get
from carsdepo_assets.release.promotion import roll_back
from carsdepo_assets.settings import Settings


def approve(pipeline: Pipeline, version: str, reason: str) -> str:
    """Approves a model and promotes it at once, if it passed validation at staging.

    Args:
        pipeline: The graph.
        version: A version number, a digest (or its first digits), or "latest".
        reason: Why; it is kept in the ledger.

    Returns:
        A sentence on the outcome.

    Raises:
        RegistryError: There is no such model.
        ValueError: The reason is empty.
        PipelineError: Production's service does not serve the model in time.
    """
    model = _version(pipeline, version)
    _run_decision(pipeline, "approve", model, reason)
    pipeline.run("promote", ops={"production_model": {"config": {"version": model.digest}}})
    floor_note = _below_floor(model, pipeline.settings.policy())
    served = ledger.desired(_lake(pipeline), "production")
    if served is not None and served.digest == model.digest:
        return f"Version {model.version} ({model.digest}) is approved{floor_note}, and production serves it."
    return (
        f"Version {model.version} ({model.digest}) is approved{floor_note} and not promoted yet: it has not passed "
        "validation at staging. `carsdepo dev` takes it to staging and then to production by itself while it runs; the "
        "approval stays valid until then."
    )


def reject(pipeline: Pipeline, version: str, reason: str) -> str:
    """Rejects a model: it is not promoted automatically until a person approves it.

    Args:
        pipeline: The graph.
        version: A version number, a digest (or its first digits), or "latest".
        reason: Why; it is kept in the ledger.

    Returns:
        A sentence on the outcome.

    Raises:
        RegistryError: There is no such model.
        ValueError: The reason is empty.
    """
    model = _version(pipeline, version)
    _run_decision(pipeline, "reject", model, reason)
    served = ledger.desired(_lake(pipeline), "production")
    more = ""
    if served is not None and served.digest == model.digest:
        more = f" Production still serves it: {_way_back(_lake(pipeline))}."
    return f"Version {model.version} ({model.digest}) is rejected: it is not promoted automatically.{more}"


def enter_rollback(settings: Settings, reason: str) -> ledger.Event:
    """Enters in the ledger that production goes back to the previous model, which its service follows at once.

    It is done before the run that records it, whose imports and start take longer than the change of the model.

    Args:
        settings: The installation.
        reason: Why; it is kept in the ledger.

    Returns:
        The ledger's event, for `finish_rollback`.

    Raises:
        ValueError: The reason is empty.
        LedgerError: There is no previous model.
    """
    _reason(reason)
    return roll_back(
        Lake.open(settings.lake),
        actor=ledger.person(),
        reason=reason,
        event_id=f"rollback:{secrets.token_hex(8)}",
        dagster_run_id=None,
    )


def finish_rollback(pipeline: Pipeline, event: ledger.Event) -> str:
    """Waits for the service and records the rollback as a run: the asset, MLflow's aliases.

    Args:
        pipeline: The graph.
        event: What `enter_rollback` returned.

    Returns:
        A sentence on the outcome.

    Raises:
        PipelineError: The service does not serve the model in time. The ledger's event stands all the same.
    """
    from carsdepo_assets.orchestration.attribution import USER_TAG

    config: dict[str, Any] = {"reason": event.reason, "actor": event.actor, "event_id": event.event_id}
    pipeline.run("rollback_production", ops={"rollback": {"config": config}}, tags={USER_TAG: event.actor})
    return (
        f"Production serves {_named(event.version, event.digest)} again; {event.previous} is barred until a person "
        "approves it."
    )


def _below_floor(model: ModelVersion, policy: Policy) -> str:
    """A phrase that warns of a model whose accuracy is below the floor of candidates, or not known; else empty."""
    map50, floor = model.figures.get("map50"), policy.evaluation.floor_map50
    if map50 is None:
        return ", though its mAP@.5 is not known,"
    return "" if map50 >= floor else f", though its mAP@.5 of {map50:.3f} is below the floor of {floor:.3f},"


def _way_back(lake: Lake) -> str:
    """How a person takes the present model out of production."""
    try:
        ledger.LedgerHistory.read(lake).rollback_target()
    except ledger.LedgerError:
        return "there is no earlier model to go back to, so approve another version to replace it"
    return '`carsdepo rollback --stage production --reason "..."` goes back'


def _run_decision(pipeline: Pipeline, action: str, version: ModelVersion, reason: str) -> None:
    _reason(reason)
    from carsdepo_assets.orchestration.attribution import USER_TAG

    actor = ledger.person()
    config = {"version": version.digest, "reason": reason, "actor": actor}
    pipeline.run(f"{action}_model", ops={action: {"config": config}}, tags={USER_TAG: actor})


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
