"""detectors/recipe_changes.py: what each fallback makes of a recipe, and which of them change nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from carsdepo_assets.detectors import recipe_changes
from carsdepo_assets.detectors.base import Recipe
from carsdepo_assets.detectors.catalogue import default_recipe, retraining_recipe
from carsdepo_assets.detectors.recipe_changes import ImpossibleChange, changed, impossible
from carsdepo_assets.policy import Longer, OtherDetector, OtherStart, Policy, TrainingPolicy

NO_WEIGHTS = Path("/nowhere")
YOLO = default_recipe("yolov8n", minutes=2, n_train=80, device="cpu", real=False)
RCNN = default_recipe("faster_rcnn", minutes=2, n_train=80, device="cpu", real=True)


def change(what: Any, base: Recipe, weights: Path = NO_WEIGHTS) -> Recipe:
    return changed(what, base, n_train=80, real=True, weights=weights)


@pytest.mark.parametrize(
    ("base", "expected"),
    [
        ({"steps": 100, "minutes": 2.0, "epochs": 7}, {"steps": 300, "minutes": 6.0, "epochs": 21}),
        ({"steps": None, "minutes": 2.0, "epochs": 7}, {"steps": None, "minutes": 6.0, "epochs": 21}),
        ({"steps": 100, "minutes": None, "epochs": 7}, {"steps": 300, "minutes": None, "epochs": 21}),
        ({"steps": None, "minutes": None, "epochs": 7}, {"steps": None, "minutes": None, "epochs": 21}),
    ],
)
def test_longer_takes_steps_minutes_and_epochs_alike(base: dict[str, Any], expected: dict[str, Any]) -> None:
    recipe = YOLO.model_copy(update=base)
    assert change(Longer(factor=3), recipe) == recipe.model_copy(update=expected)


def test_a_start_afresh_is_a_first_trainings(tmp_path: Path) -> None:
    from_champion = retraining_recipe(YOLO, "a" * 16)
    assert change(OtherStart(), from_champion) == YOLO
    assert change(OtherStart(), retraining_recipe(RCNN, "a" * 16)) == RCNN
    (tmp_path / "yolov8n.pt").write_bytes(b"pretrained")
    pretrained = change(OtherStart(), from_champion, tmp_path)
    assert pretrained.init == f"{tmp_path.name}/yolov8n.pt"
    assert change(OtherStart(init="scratch"), pretrained, tmp_path) == YOLO
    assert change(OtherStart(init="scratch"), RCNN).freeze == 0  # random layers are not kept as they are


def test_another_family_has_its_own_size_and_rate_and_the_same_budget() -> None:
    other = change(OtherDetector(detector="faster_rcnn"), retraining_recipe(YOLO, "a" * 16))
    assert other == RCNN
    steps = change(OtherDetector(detector="faster_rcnn"), YOLO.model_copy(update={"steps": 400, "minutes": 120}))
    assert (steps.steps, steps.minutes) == (400, 120)
    assert steps.epochs * (80 // steps.batch) >= 400


@pytest.mark.parametrize(
    ("what", "base", "reason"),
    [
        (OtherStart(), YOLO, "it started from random weights already"),
        (OtherStart(), RCNN, "it started from imagenet already"),
        (OtherStart(init="imagenet"), YOLO, "yolov8n has no ImageNet backbone"),
        (OtherStart(init="yolov8n"), YOLO, "weights/yolov8n.pt is absent, and nothing is downloaded"),
        (OtherStart(init="yolov8n"), RCNN, "faster_rcnn cannot start from yolov8n.pt"),
        (OtherDetector(detector="yolov8n"), YOLO, "it was a yolov8n already"),
        (OtherDetector(detector="faster_rcnn"), RCNN, "it was a faster_rcnn already"),
    ],
)
def test_what_changes_nothing_or_lacks_its_weights_is_impossible(what: Any, base: Recipe, reason: str) -> None:
    assert reason in str(impossible(what, base, NO_WEIGHTS))
    with pytest.raises(ImpossibleChange, match=what.name):
        change(what, base)


def test_the_same_pretrained_file_in_another_folder_is_no_other_start(tmp_path: Path) -> None:
    (tmp_path / "yolov8n.pt").write_bytes(b"pretrained")
    moved = YOLO.model_copy(update={"init": "/where/the/home/was/weights/yolov8n.pt"})
    assert "already" in str(impossible(OtherStart(), moved, tmp_path))


def test_a_family_without_its_package_of_weights_is_impossible(monkeypatch: pytest.MonkeyPatch) -> None:
    assert impossible(OtherDetector(detector="faster_rcnn"), YOLO, NO_WEIGHTS) is None
    monkeypatch.setattr(recipe_changes.importlib.util, "find_spec", lambda name: None)
    assert "ImageNet weights are absent" in str(impossible(OtherDetector(detector="faster_rcnn"), YOLO, NO_WEIGHTS))


def test_the_policys_default_has_something_to_try_for_every_recipe() -> None:
    for base in (YOLO, RCNN, retraining_recipe(YOLO, "a" * 16), retraining_recipe(RCNN, "a" * 16)):
        tried = [c.name for c in Policy().training.fallbacks if impossible(c, base, NO_WEIGHTS) is None]
        other = "faster_rcnn" if base.detector == "yolov8n" else "yolov8n"
        start = ["start-afresh"] if base.champion else []
        assert tried == ["longer-3", *start, f"detector-{other}"]


@pytest.mark.parametrize(
    ("given", "trouble"),
    [
        ([{"change": "longer", "factor": 1.0}], "greater than 1"),
        ([{"change": "shorter"}], "does not match any of the expected tags"),
        ([{"change": "detector"}], "Field required"),
        ([{"change": "start", "init": "moon"}], "Input should be"),
        ([{"change": "longer"}, {"change": "longer", "factor": 3}], "longer-3 comes twice"),
    ],
)
def test_a_fallback_that_means_nothing_is_refused(given: list[dict[str, Any]], trouble: str) -> None:
    with pytest.raises(ValidationError, match=trouble):
        TrainingPolicy.model_validate({"fallbacks": given})


def test_fallbacks_are_an_array_of_tables_in_toml(tmp_path: Path) -> None:
    from carsdepo_assets.policy_layers import Layer, load_policy

    file = tmp_path / "carsdepo.toml"
    file.write_text(
        '[[training.fallbacks]]\nchange = "longer"\nfactor = 4\n'
        '[[training.fallbacks]]\nchange = "detector"\ndetector = "faster_rcnn"\n'
    )
    assert [c.name for c in load_policy([Layer(file)]).training.fallbacks] == ["longer-4", "detector-faster_rcnn"]
    file.write_text("[training]\nfallbacks = []\n")
    assert load_policy([Layer(file)]).training.fallbacks == ()
