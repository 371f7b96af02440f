"""experiments/fallback_recipe.py: the recipe of a fallback, at the state of the labels when the run begins."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import pyarrow as pa
import pytest

from carsdepo_assets.detectors.base import Recipe
from carsdepo_assets.detectors.recipe_changes import ImpossibleChange, recipe_key
from carsdepo_assets.experiments.assets import recipe
from carsdepo_assets.experiments.champion import Champion
from carsdepo_assets.experiments.fallback_recipe import NoFallback, fallback_choice
from carsdepo_assets.experiments.recipes import Choice
from carsdepo_assets.lake.datasets import latest, read_manifest
from carsdepo_assets.lake.label_state import LABEL_STATE_TAG
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.lake.models import read_card
from carsdepo_assets.lake.trainings import Outcome, record_outcome
from carsdepo_assets.policy import Policy
from carsdepo_assets.resources import LakeResource, PolicyResource
from carsdepo_assets.training import candidates
from carsdepo_assets_tests.compute.in_process import in_process
from carsdepo_assets_tests.detectors.rectangles import made_up_model
from carsdepo_assets_tests.training.tiny_dataset import SPLITS, tiny_dataset

STATE = sum(SPLITS.values())
BASE = Recipe(detector="yolov8n", minutes=2.0, epochs=4, image_size=192)


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    lake = Lake.open(tmp_path / "lake")
    tiny_dataset(lake)
    return lake


def under_floor(lake: Lake, **more: object) -> None:
    lake.put(recipe_key(BASE.digest()), BASE.model_dump_json().encode())
    fields = {"at": datetime.now(UTC), "asked_by": "retrain", "outcome": "under_floor", "recipe": BASE.digest()}
    record_outcome(lake, Outcome.model_validate(fields | {"label_state": STATE, "digest": "m"} | more))


def choice(lake: Lake, name: str, state: int | None = STATE, champion: Champion | None = None) -> Choice | None:
    manifest: pa.Table = read_manifest(lake, latest(lake) or "")
    return fallback_choice(lake, name, state, Policy(), manifest, Path("/nowhere"), champion)


def test_it_changes_the_recipe_that_was_under_the_floor(lake: Lake) -> None:
    under_floor(lake)
    chosen = choice(lake, "longer-3")
    assert chosen is not None
    assert chosen.recipe == BASE.model_copy(update={"minutes": 6.0, "epochs": 12})
    assert (chosen.fallback, chosen.new_family) == ("longer-3", None)
    assert BASE.digest() in chosen.why[0]
    champion = read_card(lake, made_up_model(lake, b"champion"))
    other = choice(lake, "detector-faster_rcnn", None, Champion(champion, champion))
    assert other is not None
    assert (other.recipe.detector, other.new_family) == ("faster_rcnn", "yolov8n")
    assert other.why[-1] == "The family changes from yolov8n to faster_rcnn."


def test_newer_labels_begin_with_the_usual_recipe(lake: Lake) -> None:
    under_floor(lake)
    assert choice(lake, "longer-3", STATE - 1) is None


def test_what_cannot_be_tried_says_why(lake: Lake) -> None:
    with pytest.raises(NoFallback, match="nothing to fall back from"):
        choice(lake, "longer-3")
    under_floor(lake, asked_by="person")  # a person's recipe is none that the fallbacks change
    with pytest.raises(NoFallback, match="nothing to fall back from"):
        choice(lake, "longer-3")
    under_floor(lake, digest="n")
    with pytest.raises(NoFallback, match="has no 'longer-9': there are longer-3, start-afresh"):
        choice(lake, "longer-9")
    with pytest.raises(ImpossibleChange, match="it was a yolov8n already"):
        choice(lake, "detector-yolov8n")


@pytest.mark.parametrize(("state", "fallback"), [(STATE, "longer-3"), (STATE - 1, None)])
def test_the_asset_says_what_it_tries(lake: Lake, tmp_path: Path, state: int, fallback: str | None) -> None:
    under_floor(lake)
    with dg.DagsterInstance.ephemeral() as instance:
        result = dg.materialize(
            [recipe],
            resources={
                "lake": LakeResource(url=lake.url, home=str(tmp_path)),
                "policy": PolicyResource(files=[str(tmp_path / "absent.toml")]),
                "compute": in_process(),
            },
            run_config={"ops": {"recipe": {"config": {"fallback": "longer-3", "label_state": state}}}},
            tags={LABEL_STATE_TAG: str(state)},
            instance=instance,
        )
    (materialization,) = result.asset_materializations_for_node("recipe")
    assert (materialization.metadata["fallback"].value if "fallback" in materialization.metadata else None) == fallback
    plan = candidates.plan(lake)
    assert (plan.fallback, plan.asked_by) == (fallback, "retrain")
    assert "\n".join(f"- {line}" for line in plan.why) == materialization.metadata["why"].value
