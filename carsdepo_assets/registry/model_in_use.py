"""Chooses the model for commands whose user names none."""

from __future__ import annotations

from dataclasses import dataclass

from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.policy import Policy
from carsdepo_assets.registry.ledger import LedgerHistory
from carsdepo_assets.registry.models import RegistryError, versions
from carsdepo_assets.registry.tracking import Tracking


@dataclass(frozen=True)
class ModelInUse:
    """The model that was chosen."""

    digest: str
    """The model's digest."""
    version: int | None
    """Its number in the registry; None where the ledger has none."""
    why: str
    """Why this one, in words."""


def model_in_use(lake: Lake, tracking: Tracking, policy: Policy) -> ModelInUse:
    """Chooses production's model, or a candidate where production serves none.

    The candidate is the newest version that meets policy.evaluation.floor_map50 and is not barred from promotion.

    Raises:
        RegistryError: There is neither; the message lists the versions.
    """
    history = LedgerHistory.read(lake)
    event = history.served("production")
    if event is not None and event.digest is not None:
        return ModelInUse(event.digest, event.version, "the model in production")
    floor, registered = policy.evaluation.floor_map50, versions(tracking)
    for version in reversed(registered):
        if version.figures.get("map50", -1.0) >= floor and version.digest not in history.barred:
            why = (
                f"production serves no model, and this is the newest candidate that met the floor: mAP@.5 "
                f"{version.figures['map50']:.3f} of {floor:.3f}"
            )
            return ModelInUse(version.digest, version.version, why)
    if not registered:
        raise RegistryError("No model is registered yet. `carsdepo train` makes one.")
    have = ", ".join(f"{v.version} ({v.digest}, mAP@.5 {_figure(v.figures.get('map50'))})" for v in registered)
    raise RegistryError(
        f"Production serves no model, and none of the registered ones met the floor of {floor:.3f} without being "
        f"barred: {have}. Name one by its version or digest to use it all the same."
    )


def _figure(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.3f}"
