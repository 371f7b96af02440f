"""Sets MLflow's aliases `staging` and `production` to the versions that the deployment ledger names.

Where the two differ the ledger is right.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.registry import ledger
from carsdepo_assets.registry.models import MODEL_NAME, ModelVersion, RegistryContents, read_registry
from carsdepo_assets.registry.tracking import Tracking

STAGES: tuple[ledger.Stage, ...] = ("staging", "production")


@dataclass(frozen=True)
class Repair:
    """An alias that differed from the ledger, and what was done about it."""

    alias: str
    """`staging` or `production`."""
    was: int | None
    """The version that had the alias; None where no version had it."""
    now: int | None
    """The version that has it now."""
    since: datetime | None
    """When the ledger's event was written."""
    repaired: bool
    """False where MLflow has no version of the model that the ledger names: then the alias stays as it is."""
    message: str
    """A sentence that says all this."""


def project(tracking: Tracking, lake: Lake, registry: RegistryContents | None = None) -> list[Repair]:
    """Sets each stage's alias as the ledger has it.

    Args:
        tracking: whose registry it is.
        lake: with the ledger.
        registry: what was just read of it; None: it is read now.

    Returns:
        The aliases that differed.
    """
    history = ledger.LedgerHistory.read(lake)
    seen = registry or read_registry(tracking)
    repairs = []
    for stage in STAGES:
        repair = _difference(stage, history.served(stage), seen.versions, seen.alias_holders.get(stage))
        if repair is None:
            continue
        if repair.repaired:
            with tracking.lock():
                if repair.now is None:
                    tracking.client.delete_registered_model_alias(MODEL_NAME, stage)
                else:
                    tracking.client.set_registered_model_alias(MODEL_NAME, stage, str(repair.now))
        repairs.append(repair)
    return repairs


def found_by_hand(registry: RegistryContents) -> dict[str, str]:
    """What people made or set in MLflow that no ledger knows and nothing here reads, each with a sentence about it.

    Returns:
        Sentences by a key that says what they are about.
    """
    sentences = {
        f"foreign:{number}": (
            f"MLflow's registry has a version {number} that no training registered, or that has lost its tags: the "
            "ledger knows no such model, and nothing serves it. Delete it there; `carsdepo train` registers models"
        )
        for number in registry.foreign
    }
    for number, stage in registry.staged.items():
        sentences[f"stage:{number}:{stage}"] = (
            f"MLflow has version {number} in its old stage {stage}, which says nothing here: the ledger decides, and "
            f"the aliases show it. `carsdepo approve {number}` asks for its promotion; set the stage to None"
        )
    return sentences


def _difference(
    stage: str, event: ledger.Event | None, registered: list[ModelVersion], was: int | None
) -> Repair | None:
    if event is None:
        if was is None:
            return None
        message = f"alias {stage} was on version {was}, but the ledger has {stage} serve nothing: the alias was removed"
        return Repair(stage, was, None, None, True, message)
    now = next((v.version for v in registered if v.digest == event.digest), None)
    if now is None:
        message = (
            f"the ledger has {stage} serve model {event.digest} (event {event.sequence}, {event.actor}), which "
            "MLflow's registry does not know: register it again, or roll back"
        )
        return Repair(stage, was, None, event.at, False, message)
    if was == now:
        return None
    message = (
        f"alias {stage} was on {'no version' if was is None else f'version {was}'}, the ledger says version {now}: set"
    )
    return Repair(stage, was, now, event.at, True, message)
