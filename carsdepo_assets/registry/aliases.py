"""MLflow's aliases `staging` and `production` follow the ledger; where they differ the ledger is right."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.registry import ledger
from carsdepo_assets.registry.models import MODEL_NAME, ModelVersion, versions
from carsdepo_assets.registry.tracking import Tracking

STAGES: tuple[ledger.Stage, ...] = ("staging", "production")


@dataclass(frozen=True)
class Repair:
    """was, now: versions under the alias, None for none. since: when the ledger said so. said: a sentence.

    repaired: False where the registry has no version of the ledger's digest, which nobody here can mend.
    """

    alias: str
    was: int | None
    now: int | None
    since: datetime | None
    repaired: bool
    said: str


def project(tracking: Tracking, lake: Lake) -> list[Repair]:
    """Sets each stage's alias as the ledger has it and returns what was otherwise; an empty list where nothing was."""
    history = ledger.events(lake)
    known = versions(tracking)
    repairs = []
    for stage in STAGES:
        repair = _difference(stage, ledger.served(history, stage), known)
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


def _difference(stage: str, event: ledger.Event | None, known: list[ModelVersion]) -> Repair | None:
    was = next((v.version for v in known if stage in v.aliases), None)
    if event is None:
        if was is None:
            return None
        said = f"alias {stage} was on version {was}; the ledger has {stage} serve nothing: removed"
        return Repair(stage, was, None, None, True, said)
    now = next((v.version for v in known if v.digest == event.digest), None)
    if now is None:
        said = (
            f"the ledger has {stage} serve model {event.digest} (event {event.sequence}, {event.actor}), which "
            "MLflow's registry does not know: register it again, or roll back"
        )
        return Repair(stage, was, None, event.at, False, said)
    if was == now:
        return None
    said = (
        f"alias {stage} was on {'no version' if was is None else f'version {was}'}, the ledger says version {now}: set"
    )
    return Repair(stage, was, now, event.at, True, said)
