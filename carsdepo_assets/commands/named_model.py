"""Finds the model that a person names on the command line: by its stage, its digest or its number."""

from __future__ import annotations

from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.registry import ledger
from carsdepo_assets.registry.tracking import Tracking
from carsdepo_assets.settings import Settings
from carsdepo_assets.site import tracing

_STAGES: tuple[ledger.Stage, ...] = ("staging", "production")
_LEAST = 4  # first digits of a digest


def model_named(settings: Settings, lake: Lake, name: str) -> str:
    """The digest of a model of the lake.

    Args:
        settings: the installation's.
        lake: its lake; MLflow is asked only for what it alone knows.
        name: a stage, a digest or at least its first 4 digits, a version number, or `latest`: the newest registered.

    Raises:
        LookupError: there is no such model, or several; the message lists those that there are.
    """
    for stage in _STAGES:
        if name == stage:
            event = ledger.desired(lake, stage)
            if event is None or event.digest is None:
                raise ledger.LedgerError(f"Nothing has been deployed to {stage} yet.")
            return event.digest
    there = tracing.digests(lake)
    matches = [d for d in there if d == name] or [d for d in there if len(name) >= _LEAST and d.startswith(name)]
    if len(matches) == 1:
        return matches[0]
    if len(matches) > 1:
        raise LookupError(f"Several models begin with {name!r}: {', '.join(matches)}.")
    registered = tracing.known_versions(tracing.open_tracking(settings))
    named = registered[-1:] if name == "latest" else [v for v in registered if str(v.version) == name]
    if named and named[0].digest in there:
        return named[0].digest
    if not registered and (absence := Tracking(settings.mlflow_uri).absence()) is not None:
        raise LookupError(
            f"{name!r} may be a version of a model, which MLflow knows: {absence}, or give the model's digest."
        )
    if not there:
        raise LookupError(f"There is no model in {settings.lake} yet. `carsdepo train` makes one.")
    numbers = ", ".join(f"{v.version} ({v.digest})" for v in registered) or "none"
    raise LookupError(
        f"There is no model {name!r} in {settings.lake}. Registered: {numbers}. Models: {', '.join(there)}."
    )
