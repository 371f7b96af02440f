"""The recipe of a fallback that the sensor `retrain` asks for, at a state of the labels."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from carsdepo_assets.detectors.recipe_changes import read_recipe
from carsdepo_assets.experiments.champion import Champion
from carsdepo_assets.experiments.recipes import Choice, fallback_recipe
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.lake.pointers import DatasetPointer
from carsdepo_assets.lake.trainings import outcomes
from carsdepo_assets.policy import Policy
from carsdepo_assets.registry.labels_learnt import base_recipe


class NoFallback(LookupError):
    """The policy has no such fallback, or there is no training under the floor that it would change."""


def fallback_choice(
    lake: Lake,
    name: str,
    label_state: int | None,
    policy: Policy,
    manifest: pa.Table,
    weights: Path,
    champion: Champion | None,
) -> Choice | None:
    """The recipe of one of the policy's fallbacks.

    Args:
        name: the fallback's name in policy.training.fallbacks.
        label_state: the state of the labels for which it is asked; None: that of the newest dataset.
        manifest: the newest dataset's.
        weights: the home's folder of published weights.

    Returns:
        None where the newest dataset has other labels than `label_state`: these start with the usual recipe.

    Raises:
        NoFallback: the policy has no such fallback, or no training under the floor precedes it.
        ImpossibleChange: the fallback changes nothing, or lacks its weights.
    """
    dataset = DatasetPointer.read(lake)
    state = 0 if dataset is None else dataset.label_state
    if label_state not in (None, state):
        return None
    change = next((c for c in policy.training.fallbacks if c.name == name), None)
    if change is None:
        there = ", ".join(c.name for c in policy.training.fallbacks) or "none"
        raise NoFallback(f"policy.training.fallbacks has no {name!r}: there are {there}.")
    base = base_recipe(outcomes(lake, state))
    if base is None:
        raise NoFallback(
            f"No training by `retrain` was under the floor at label state {state}: nothing to fall back from."
        )
    return fallback_recipe(change, read_recipe(lake, base), policy, manifest, weights, champion)
