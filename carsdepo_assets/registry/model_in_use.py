"""The model that one who names none should get."""

from __future__ import annotations

from dataclasses import dataclass

from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.policy import Policy
from carsdepo_assets.registry.ledger import barred, events, served
from carsdepo_assets.registry.models import RegistryError, versions
from carsdepo_assets.registry.tracking import Tracking


@dataclass(frozen=True)
class ModelInUse:
    """version: None where the ledger names none. why: in words."""

    digest: str
    version: int | None
    why: str


def model_in_use(lake: Lake, tracking: Tracking, policy: Policy) -> ModelInUse:
    """Production's model; where it serves none, the newest version that meets policy.evaluation.floor_map50 and that no
    person has barred. Raises RegistryError, listing the versions, where there is neither.
    """
    history = events(lake)
    event = served(history, "production")
    if event is not None and event.digest is not None:
        return ModelInUse(event.digest, event.version, "the model in production")
    floor, out, known = policy.evaluation.floor_map50, barred(history), versions(tracking)
    for version in reversed(known):
        if version.figures.get("map50", 0.0) >= floor and version.digest not in out:
            why = (
                f"production serves no model, and this is the newest candidate that met the floor: mAP@.5 "
                f"{version.figures['map50']:.3f} of {floor:.3f}"
            )
            return ModelInUse(version.digest, version.version, why)
    if not known:
        raise RegistryError("No model is registered yet. `carsdepo train` makes one.")
    have = ", ".join(f"{v.version} ({v.digest}, mAP@.5 {v.figures.get('map50', float('nan')):.3f})" for v in known)
    raise RegistryError(
        f"Production serves no model, and none of the registered ones met the floor of {floor:.3f} without being "
        f"barred: {have}. Name one by its version or digest to use it all the same."
    )
