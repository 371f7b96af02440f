"""The policy's fallbacks at one state of the labels: whether they can be tried, and what is recorded if not."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from pydantic import ValidationError

from carsdepo_assets.detectors import recipe_changes
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.lake.trainings import Outcome, record_outcome
from carsdepo_assets.policy import Fallback
from carsdepo_assets.registry.labels_learnt import LabelCoverage
from carsdepo_assets.training.retraining import GivenUp


def impossible(lake: Lake, now: LabelCoverage, weights: Path, change: Fallback) -> str | None:
    """Why a fallback cannot be tried on the recipe whose model was under the floor; None where it can.

    Args:
        weights: the home's folder of published weights.

    Raises:
        LakeError: that recipe is not in the lake.
    """
    base = now.base_recipe
    assert base is not None  # a fallback is next only after the usual recipe was evaluated
    try:
        recipe = recipe_changes.read_recipe(lake, base)
    except ValidationError as error:  # of another release, or of a family whose package was removed
        return f"the recipe {base} is not understood here ({'; '.join(e['msg'] for e in error.errors())})"
    return recipe_changes.impossible(change, recipe, weights)


def give_up(lake: Lake, now: LabelCoverage, what: GivenUp) -> None:
    """Records in `trainings` that the recipe or the fallback is given up, once for a state of the labels."""
    record_outcome(
        lake,
        Outcome(
            label_state=now.label_state,
            at=datetime.now(UTC),
            asked_by="retrain",
            fallback=what.fallback,
            outcome="skipped" if what.impossible else "did_not_finish",
            reason=what.reason,
        ),
    )
