"""Which model a training starts from, and that a recipe's digest tells."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from carsdepo_assets.detectors.base import Recipe
from carsdepo_assets.experiments.recipes import champion_for, choose_recipe
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.lake.models import ModelCard, digest_of, write_model
from carsdepo_assets.policy import Policy, TrainingPolicy
from carsdepo_assets.registry.ledger import record

MANIFEST = pa.table({"split": ["train"] * 40 + ["val"] * 8, "origin": ["sample"] * 48})


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake.open(tmp_path / "lake")


def model(lake: Lake, name: str, dataset: str, recipe: Recipe) -> ModelCard:
    """A whole model in the lake, trained on the dataset by the recipe; its weights are its name."""
    card = ModelCard(
        digest=digest_of(name.encode()),
        weights="weights.pt",
        detector=recipe.detector,
        class_names=("scratch", "dent"),
        image_size=160,
        threshold=0.5,
        threshold_from="test",
        dataset_version=dataset,
        recipe=recipe.model_dump(mode="json"),
    )
    write_model(lake, name.encode(), card, {"history": []}, b"{}")
    return card


def serve(lake: Lake, card: ModelCard, stage: str = "production", action: str = "promote") -> None:
    record(lake, stage, action, digest=card.digest, version=1, actor="ann", reason="test")  # type: ignore[arg-type]


def chosen(champion: ModelCard | None, *, training: dict[str, Any] | None = None, **asked: Any) -> Recipe:
    rules = Policy(training=TrainingPolicy.model_validate(training or {}))
    return choose_recipe(rules, MANIFEST, Path("/nowhere"), champion=champion, **asked)


def test_it_goes_on_from_a_champion_of_the_same_detector(lake: Lake) -> None:
    scratch = chosen(None)
    assert (scratch.init, scratch.champion) == ("scratch", None)
    card = model(lake, "a", "d1", scratch)
    found = chosen(card)
    assert (found.init, found.champion) == ("champion", card.digest)
    assert found.lr < scratch.lr
    assert found.freeze == 0  # a frozen backbone does not learn a new light
    other = chosen(model(lake, "b", "d1", scratch))
    assert len({scratch.digest(), found.digest(), other.digest()}) == 3


@pytest.mark.parametrize(
    ("training", "asked"),
    [
        ({"from_champion": False}, {}),
        ({"detector": "faster_rcnn"}, {}),
        ({}, {"detector": "faster_rcnn"}),
    ],
)
def test_else_it_starts_as_usual(lake: Lake, training: dict[str, Any], asked: dict[str, Any]) -> None:
    card = model(lake, "a", "d1", chosen(None))
    assert chosen(card, training=training, **asked) == chosen(None, training=training, **asked)
    assert chosen(card, training=training, **asked).init in ("scratch", "imagenet")


def test_a_faster_rcnn_goes_on_from_its_own_kind(lake: Lake) -> None:
    card = model(lake, "a", "d1", chosen(None, detector="faster_rcnn"))
    found = chosen(card, detector="faster_rcnn")
    assert (found.init, found.champion) == ("champion", card.digest)


@pytest.mark.parametrize(
    ("training", "minutes", "expected"),
    [
        ({}, None, 2.5),
        ({"retrain_minutes": 1}, None, 1.0),
        ({"retrain_minutes": 1}, 0.5, 0.5),
        ({"minutes": 4}, None, 4),
    ],
)
def test_minutes_of_a_retraining(lake: Lake, training: dict[str, Any], minutes: float | None, expected: float) -> None:
    card = model(lake, "a", "d1", chosen(None))
    assert chosen(card, training=training, minutes=minutes).minutes == expected
    usual = chosen(None, training=training, minutes=minutes).minutes
    assert usual == (minutes or training.get("minutes", 2.5))  # retrain_minutes is for retraining only


@pytest.mark.parametrize(
    ("training", "asked", "steps", "minutes"),
    [
        ({}, {}, None, 2.5),
        ({"steps": 300}, {}, 300, 120.0),
        ({"steps": 300, "cap_minutes": 20}, {}, 300, 20.0),
        ({}, {"steps": 50}, 50, 120.0),
        ({"steps": 300}, {"steps": 50, "minutes": 9}, 50, 9.0),
        ({"steps": 300}, {"minutes": 9}, None, 9.0),
        ({"steps": 300}, {"epochs": 2}, None, 2.5),
    ],
)
def test_a_training_is_planned_in_steps_with_time_as_a_far_cap(
    lake: Lake, training: dict[str, Any], asked: dict[str, Any], steps: int | None, minutes: float
) -> None:
    for champion in (None, model(lake, "a", "d1", chosen(None))):
        found = chosen(champion, training=training, **asked)
        assert (found.steps, found.minutes) == (steps, minutes)
        if steps is not None:
            assert found.epochs == -(-steps // 5)  # 40 photographs in batches of 8


def test_only_what_production_serves_is_a_champion(lake: Lake) -> None:
    assert champion_for(lake, "d2") is None
    first = model(lake, "a", "d1", chosen(None))
    serve(lake, first, "staging", "deploy")
    assert champion_for(lake, "d2") is None
    serve(lake, first)
    assert champion_for(lake, "d2") == first
    second = model(lake, "b", "d2", chosen(first))
    serve(lake, second)
    assert champion_for(lake, "d3") == second
    serve(lake, first, action="rollback")
    assert champion_for(lake, "d3") == first


def test_nothing_new_to_learn_gives_the_same_recipe_again(lake: Lake) -> None:
    """After a promotion, `train` on the same dataset finds its candidate and does not train for nothing."""
    scratch = chosen(champion_for(lake, "d1"))
    first = model(lake, "a", "d1", scratch)
    serve(lake, first)
    assert chosen(champion_for(lake, "d1")) == scratch
    retrained = chosen(champion_for(lake, "d2"))
    assert retrained.champion == first.digest
    second = model(lake, "b", "d2", retrained)
    serve(lake, second)
    assert chosen(champion_for(lake, "d2")) == retrained
    assert chosen(champion_for(lake, "d3")).champion == second.digest
    assert chosen(champion_for(lake, "d2"), minutes=9).champion == first.digest  # asked for more: trained anew
