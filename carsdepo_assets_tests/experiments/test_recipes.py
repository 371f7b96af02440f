"""experiments/recipes.py, experiments/champion.py: family, size and weights of a training, and the reasons."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from carsdepo_assets.detectors.base import Recipe
from carsdepo_assets.detectors.catalogue import usual_augmentation
from carsdepo_assets.experiments.champion import Champion, champion_for
from carsdepo_assets.experiments.recipes import Choice, choose_recipe, fallback_recipe, mix_of
from carsdepo_assets.families.registry import family_of, register, unregister
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.lake.models import ModelCard, digest_of, write_model
from carsdepo_assets.policy import ClassMap, Longer, OtherDetector, Policy, TrainingPolicy
from carsdepo_assets.policy_augmentation import AugmentationPolicy
from carsdepo_assets.registry.ledger import record
from carsdepo_assets_tests.detectors import cells_family

RENDERED, REAL = "sample", "yolo"


def mix(rendered: int, real: int) -> pa.Table:
    """A dataset's manifest: so many training photographs of each origin, and 8 rendered ones to validate on."""
    origins = [RENDERED] * rendered + [REAL] * real
    return pa.table({"split": ["train"] * len(origins) + ["val"] * 8, "origin": origins + [RENDERED] * 8})


MANIFEST = mix(40, 0)


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake.open(tmp_path / "lake")


def model(
    lake: Lake,
    name: str,
    dataset: str,
    recipe: Recipe,
    *,
    size: int = 160,
    classes: tuple[str, ...] = ("scratch", "dent"),
) -> ModelCard:
    """A whole model in the lake, trained on the dataset by the recipe; its weights are its name."""
    card = ModelCard(
        digest=digest_of(name.encode()),
        weights="weights.pt",
        detector=recipe.detector,
        class_names=classes,
        image_size=size,
        threshold=0.5,
        threshold_from="test",
        dataset_version=dataset,
        recipe=recipe.model_dump(mode="json"),
    )
    write_model(lake, name.encode(), card, {"history": []}, b"{}")
    return card


def serve(lake: Lake, card: ModelCard, stage: str = "production", action: str = "promote") -> None:
    record(lake, stage, action, digest=card.digest, version=1, actor="ann", reason="test")  # type: ignore[arg-type]


def choice(
    champion: Champion | ModelCard | None,
    *,
    training: dict[str, Any] | None = None,
    manifest: pa.Table = MANIFEST,
    weights: Path = Path("/nowhere"),
    classes: tuple[str, ...] = ("scratch", "dent"),
    **asked: Any,
) -> Choice:
    """champion: a card stands for a model in production that was trained on another dataset."""
    policy = Policy(training=TrainingPolicy.model_validate(training or {}), class_map=ClassMap(names=classes))
    in_production = Champion(champion, champion) if isinstance(champion, ModelCard) else champion
    return choose_recipe(policy, manifest, weights, champion=in_production, **asked)


def chosen(champion: Champion | ModelCard | None, **asked: Any) -> Recipe:
    return choice(champion, **asked).recipe


def test_twelve_real_photographs_among_820_rendered_ones_change_nothing(lake: Lake) -> None:
    """Family, input size and start are the champion's, whatever the mix, and the recipe says so."""
    card = model(lake, "a", "d1", chosen(None))
    assert card.detector == "yolov8n"
    picked = choice(card, manifest=mix(820, 12))
    assert (picked.recipe.detector, picked.recipe.image_size) == ("yolov8n", 160)
    assert (picked.recipe.init, picked.recipe.champion) == ("champion", card.digest)
    assert picked.new_family is None
    assert f"the champion {card.digest} is followed" in picked.why[0]
    for manifest in (mix(10, 400), mix(0, 9)):
        other = choice(card, manifest=manifest)
        assert (other.recipe.detector, other.recipe.image_size, other.recipe.champion) == ("yolov8n", 160, card.digest)


def test_a_champion_of_real_photographs_is_followed_among_rendered_ones(lake: Lake) -> None:
    card = model(lake, "a", "d1", chosen(None, manifest=mix(0, 40)), size=384)
    assert card.detector == "faster_rcnn"
    recipe = chosen(card, manifest=mix(400, 0))
    assert (recipe.detector, recipe.image_size, recipe.champion) == ("faster_rcnn", 384, card.digest)


@pytest.mark.parametrize(
    ("rendered", "real", "family", "shares"),
    [
        (820, 12, "yolov8n", "12 of 832 training photographs (1.4 %)"),
        (50, 50, "yolov8n", "50 of 100 training photographs (50.0 %)"),
        (49, 51, "faster_rcnn", "51 of 100 training photographs (51.0 %)"),
        (0, 40, "faster_rcnn", "40 of 40 training photographs (100.0 %)"),
    ],
)
def test_auto_takes_the_majority_of_a_first_models_photographs(
    rendered: int, real: int, family: str, shares: str
) -> None:
    picked = choice(None, manifest=mix(rendered, real))
    assert picked.recipe.detector == family
    assert "A first model, detector auto" in picked.why[0]
    assert shares in picked.why[0]
    assert "50 % of policy.training.auto_real_share" in picked.why[0]


def test_the_share_that_is_real_is_the_policys() -> None:
    assert chosen(None, manifest=mix(820, 12), training={"auto_real_share": 0.01}).detector == "faster_rcnn"
    assert mix_of(mix(0, 0)).real_share == 0.0
    assert mix_of(pa.table({"split": ["train"], "origin": pa.array([None], pa.string())})).real_share == 1.0


@pytest.mark.parametrize(
    ("training", "asked", "by"),
    [
        ({"detector": "faster_rcnn"}, {}, "policy.training.detector names it"),
        ({}, {"detector": "faster_rcnn"}, "this run asks for it"),
        ({"detector": "yolov8n"}, {"detector": "faster_rcnn"}, "this run asks for it"),
    ],
)
def test_another_family_is_a_persons_decision_and_said(
    lake: Lake, training: dict[str, Any], asked: dict[str, Any], by: str
) -> None:
    card = model(lake, "a", "d1", chosen(None))
    picked = choice(card, training=training, **asked)
    assert picked.recipe == chosen(None, training=training, **asked)
    assert (picked.recipe.detector, picked.recipe.init, picked.recipe.champion) == ("faster_rcnn", "imagenet", None)
    assert picked.new_family == "yolov8n"
    assert "The family changes from yolov8n" in picked.why[0]
    assert by in picked.why[0]


def test_without_its_weights_family_and_size_of_the_champion_still_follow(lake: Lake) -> None:
    card = model(lake, "a", "d1", chosen(None), size=320)
    picked = choice(card, training={"from_champion": False}, manifest=mix(3, 400))
    assert (picked.recipe.detector, picked.recipe.image_size) == ("yolov8n", 320)
    assert (picked.recipe.init, picked.recipe.champion, picked.new_family) == ("scratch", None, None)
    assert "from_champion is false" in picked.why[-1]
    # Larger images take longer: fewer epochs fit into the minutes than at 160 px.
    assert picked.recipe.epochs < chosen(None, manifest=mix(403, 0)).epochs


@pytest.mark.parametrize(
    ("classes", "goes_on"),
    [
        (("scratch", "dent"), True),
        (("scratch", "dent", "rust"), True),
        (("dent", "scratch"), False),
        (("rust",), False),
    ],
)
def test_weights_are_passed_on_where_the_class_map_only_grew(
    lake: Lake, classes: tuple[str, ...], goes_on: bool
) -> None:
    card = model(lake, "a", "d1", chosen(None))
    picked = choice(card, classes=classes, manifest=mix(0, 40))
    assert (picked.recipe.detector, picked.recipe.image_size) == ("yolov8n", 160)
    assert (picked.recipe.champion == card.digest) is goes_on
    assert goes_on or "classes ['scratch', 'dent'] are not the first of the class map's" in picked.why[-1]


def test_pretrained_weights_that_come_later_change_no_champions_successor(lake: Lake, tmp_path: Path) -> None:
    weights = tmp_path / "weights"
    weights.mkdir()
    real = mix(0, 40)
    rcnn, yolo = (
        model(lake, "rcnn", "d1", chosen(None, manifest=real), size=384),
        model(lake, "yolo", "d1", chosen(None, manifest=mix(40, 0))),
    )
    (weights / "yolov8n.pt").write_bytes(b"pretrained")
    assert chosen(None, manifest=real, weights=weights).init == "weights/yolov8n.pt"  # a first model takes them
    assert chosen(rcnn, manifest=real, weights=weights).champion == rcnn.digest
    assert chosen(yolo, manifest=real, weights=weights).champion == yolo.digest


@pytest.mark.parametrize(
    ("training", "asked", "steps"),
    [
        ({}, {}, None),
        ({"steps": 600}, {}, 600),
        ({"steps": 600}, {"steps": 90}, 90),
        ({}, {"steps": 90}, 90),
        ({"steps": 600}, {"minutes": 30}, None),  # who asks for time gets it
        ({"steps": 600}, {"epochs": 1}, None),
        ({"steps": 600}, {"minutes": 30, "steps": 90}, 90),
    ],
)
def test_steps_of_the_policy_and_of_the_run(training: dict[str, Any], asked: dict[str, Any], steps: int | None) -> None:
    recipe = chosen(None, training=training, manifest=mix(45, 0), **asked)
    assert recipe.steps == steps
    assert recipe.minutes == asked.get("minutes", 2.5 if steps is None else 120)  # a far cap
    if steps is not None:
        assert recipe.epochs >= steps / (45 // recipe.batch)  # the epochs are no bound before the steps


def test_pretrained_weights_of_the_home_are_the_same_recipe_wherever_it_lies(tmp_path: Path) -> None:
    recipes = []
    for home in (tmp_path / "old", tmp_path / "new"):
        (home / "weights").mkdir(parents=True)
        (home / "weights/yolov8n.pt").touch()
        recipes.append(choose_recipe(Policy(), mix(0, 40), home / "weights").recipe)
    assert recipes[0].init == "weights/yolov8n.pt"
    assert recipes[0].digest() == recipes[1].digest()


def test_it_goes_on_from_a_champion_of_the_same_detector(lake: Lake) -> None:
    scratch = chosen(None)
    assert (scratch.init, scratch.champion) == ("scratch", None)
    card = model(lake, "a", "d1", scratch)
    recipe = chosen(card)
    assert (recipe.init, recipe.champion) == ("champion", card.digest)
    assert recipe.lr < scratch.lr
    assert recipe.freeze == 0  # a frozen backbone does not learn a new light
    other = chosen(model(lake, "b", "d1", scratch))
    assert len({scratch.digest(), recipe.digest(), other.digest()}) == 3


def test_a_faster_rcnn_goes_on_from_its_own_kind(lake: Lake) -> None:
    card = model(lake, "a", "d1", chosen(None, detector="faster_rcnn"))
    recipe = chosen(card, detector="faster_rcnn")
    assert (recipe.init, recipe.champion) == ("champion", card.digest)


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
        recipe = chosen(champion, training=training, **asked)
        assert (recipe.steps, recipe.minutes) == (steps, minutes)
        if steps is not None:
            assert recipe.epochs == -(-steps // 5)  # 40 photographs in batches of 8


def served(lake: Lake, dataset: str) -> ModelCard:
    """The model that a training on this dataset goes on from."""
    followed = champion_for(lake, dataset)
    assert followed is not None
    assert followed.start is not None
    return followed.start


def test_only_what_production_serves_is_a_champion(lake: Lake) -> None:
    assert champion_for(lake, "d2") is None
    first = model(lake, "a", "d1", chosen(None))
    serve(lake, first, "staging", "deploy")
    assert champion_for(lake, "d2") is None
    serve(lake, first)
    assert champion_for(lake, "d2") == Champion(first, first)
    second = model(lake, "b", "d2", chosen(first))
    serve(lake, second)
    assert served(lake, "d3") == second
    serve(lake, first, action="rollback")
    assert champion_for(lake, "d3") == Champion(first, first)


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


def test_a_family_that_a_person_chose_stays_on_the_same_dataset(lake: Lake, tmp_path: Path) -> None:
    """The model in production has no ancestor to go on from there: it is still the one that is followed."""
    first = model(lake, "a", "d1", chosen(None))
    serve(lake, first)
    other = model(lake, "b", "d2", chosen(champion_for(lake, "d2"), detector="faster_rcnn"), size=256)
    serve(lake, other)
    again = champion_for(lake, "d2")
    assert again == Champion(other, None, "imagenet")
    picked = choice(again)
    assert (picked.recipe.detector, picked.recipe.init, picked.recipe.image_size) == ("faster_rcnn", "imagenet", 256)
    assert picked.new_family is None
    assert chosen(champion_for(lake, "d3")).champion == other.digest
    # Pretrained weights that came since do not change how its line starts, either.
    (tmp_path / "yolov8n.pt").write_bytes(b"pretrained")
    serve(lake, first)
    assert chosen(champion_for(lake, "d1"), weights=tmp_path) == chosen(None)


def test_a_barred_model_passes_on_no_weights(lake: Lake) -> None:
    first = model(lake, "a", "d1", chosen(None))
    serve(lake, first)
    second = model(lake, "b", "d2", chosen(first))
    serve(lake, second)
    assert served(lake, "d3") == second
    record(lake, "production", "reject", digest=second.digest, version=2, actor="ann", reason="trained on wrong labels")
    followed = champion_for(lake, "d3")  # production still serves it: its family and size are followed, from its parent
    assert followed == Champion(second, first)
    assert f"Goes on from {first.digest}, which the champion {second.digest} descends from" in choice(followed).why[-1]
    record(lake, "production", "reject", digest=first.digest, version=1, actor="ann", reason="that one too")
    assert champion_for(lake, "d3") == Champion(second, None)
    assert chosen(champion_for(lake, "d3")).init == "scratch"
    record(lake, "production", "approve", digest=second.digest, version=2, actor="ann", reason="the labels were right")
    assert served(lake, "d3") == second


def test_a_rolled_back_models_candidate_does_not_lead(lake: Lake) -> None:
    first = model(lake, "a", "d1", chosen(None))
    serve(lake, first)
    second = model(lake, "b", "d2", chosen(champion_for(lake, "d2"), detector="faster_rcnn"))
    serve(lake, second)
    serve(lake, first, action="rollback")
    picked = choice(champion_for(lake, "d3"), manifest=mix(0, 40))
    assert (picked.recipe.detector, picked.recipe.champion) == ("yolov8n", first.digest)


@pytest.mark.parametrize("detector", ["yolov8n", "faster_rcnn"])
def test_a_recipe_declares_the_familys_augmentation_with_what_the_policy_says(detector: str) -> None:
    usual = choose_recipe(Policy(), mix(0, 40), Path("/nowhere"), detector=detector).recipe.augmentation
    assert usual == usual_augmentation(family_of(detector), real=True)
    policy = Policy(augmentation=AugmentationPolicy(flip=0.0, noise=0.25))
    for manifest, real in ((mix(0, 40), True), (mix(40, 0), False)):
        recipe = choose_recipe(policy, manifest, Path("/nowhere"), detector=detector).recipe
        expected = usual_augmentation(family_of(detector), real=real)
        assert expected is not None
        assert recipe.augmentation == expected.model_copy(update={"flip": 0.0, "noise": 0.25})


def test_a_family_that_varies_by_itself_says_that_the_policy_does_not_apply() -> None:
    register(cells_family.FAMILY)
    try:
        said = [
            choose_recipe(Policy(augmentation=a), MANIFEST, Path("/nowhere"), detector="cells")
            for a in (AugmentationPolicy(), AugmentationPolicy(flip=0.1))
        ]
    finally:
        unregister("cells")
    assert all(one.recipe.augmentation is None for one in said)
    sentence = "cells varies photographs by itself: policy.augmentation does not apply."
    assert [sentence in one.why for one in said] == [False, True]


def test_a_fallback_to_another_family_takes_that_familys_augmentation() -> None:
    policy = Policy(augmentation=AugmentationPolicy(hue=0.2))
    base = choose_recipe(policy, MANIFEST, Path("/nowhere")).recipe
    assert base.detector == "yolov8n"
    for change in (OtherDetector(detector="faster_rcnn"), Longer()):
        recipe = fallback_recipe(change, base, policy, MANIFEST, Path("/nowhere"), None).recipe
        usual = usual_augmentation(family_of(recipe.detector), real=False)
        assert usual is not None
        assert recipe.augmentation == usual.model_copy(update={"hue": 0.2})
