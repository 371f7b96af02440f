"""The recipe of a fallback that `retrain` asks for, from what the lake says of the state of the labels."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa

from carsdepo_assets.detectors.recipe_changes import read_recipe
from carsdepo_assets.experiments.champion import Champion
from carsdepo_assets.experiments.recipes import Choice, fallback_recipe
from carsdepo_assets.lake.datasets import LATEST
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.lake.trainings import outcomes
from carsdepo_assets.policy import Policy
from carsdepo_assets.registry.labels_learnt import base_recipe


class NoFallback(LookupError):
    """The fallback is not in the policy, or there is no training under the floor that it would change."""


def fallback_choice(
    lake: Lake,
    name: str,
    label_state: int | None,
    policy: Policy,
    manifest: pa.Table,
    weights: Path,
    champion: Champion | None,
) -> Choice | None:
    """The recipe of the policy's fallback `name`; None where the newest dataset has other labels than `label_state`:
    those are a new state, with the usual recipe first. label_state None: the newest dataset's.

    manifest: of the newest dataset. Raises NoFallback, and ImpossibleChange where the fallback changes nothing.
    """
    state = int(json.loads(lake.get(LATEST))["label_state"])
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
