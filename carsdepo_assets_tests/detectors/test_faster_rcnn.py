"""detectors/faster_rcnn/: it learns, resumes to the same weights, and takes what it is given."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from carsdepo_assets.detectors.base import Recipe
from carsdepo_assets.detectors.checkpoints import DetectorError
from carsdepo_assets.detectors.faster_rcnn.detector import FasterRcnn
from carsdepo_assets_tests.detectors.detector_contract import check_predictions, kill_and_resume, map50, rgb, same
from carsdepo_assets_tests.detectors.killed_training import RECIPES
from carsdepo_assets_tests.detectors.scenes import scenes

NAMES = ("scratch", "dent")


def recipe(**values: object) -> Recipe:
    base = {
        "detector": "faster_rcnn",
        "init": "imagenet",
        "image_size": 96,
        "batch": 4,
        "epochs": 1,
        "lr": 0.001,
        "extra": {"threads": 1},
    }
    return Recipe.model_validate({**base, **values})


@pytest.mark.slow
def test_learns_eight_images_by_heart(tmp_path: Path) -> None:
    data = scenes(tmp_path / "images", 8, 0)
    rows: list[dict[str, float]] = []
    trained = FasterRcnn().train(
        data,
        recipe(epochs=15, batch=2, freeze=5, extra={"threads": 1, "crop": 0.0, "ema": 0.9}),
        tmp_path / "out",
        rows.append,
    )
    predictor = FasterRcnn().load(trained.weights, NAMES, 96)
    assert map50(predictor, data.images) > 0.5
    assert rows == trained.history
    assert len(rows) == 15
    assert rows[-1]["loss"] < rows[0]["loss"]
    assert "val_map50" not in rows[0]
    check_predictions(predictor)
    again = FasterRcnn().load(trained.weights, NAMES, 96)
    assert same(again.predict([rgb(data.images[0])])[0], predictor.predict([rgb(data.images[0])])[0])


@pytest.mark.slow
def test_a_killed_training_ends_with_the_weights_of_one_that_was_not(tmp_path: Path) -> None:
    import torch

    rows, history, data, weights = kill_and_resume(FasterRcnn(), tmp_path)
    assert [r["epoch"] for r in rows] == [2, 3]
    assert [r["epoch"] for r in history] == [1, 2, 3]
    assert all("val_map50" in r for r in history)
    whole = FasterRcnn().train(data, RECIPES["faster_rcnn"], tmp_path / "whole", lambda row: None)
    states = [torch.load(w, weights_only=True)["state"] for w in (weights, whole.weights)]
    assert all(torch.allclose(states[0][k], states[1][k], atol=1e-5) for k in states[0])
    assert [round(r["loss"], 4) for r in whole.history] == [round(r["loss"], 4) for r in history]


@pytest.mark.slow
@pytest.mark.parametrize("init", ["scratch", "imagenet"])
def test_empty_images_and_minutes(tmp_path: Path, init: str) -> None:
    data = scenes(tmp_path / "images", 2, 1, n_empty=2, width=128, height=64)
    trained = FasterRcnn().train(data, recipe(epochs=9, minutes=0.0001, init=init), tmp_path / "out", lambda row: None)
    assert len(trained.history) == 1
    assert np.isfinite(trained.history[0]["loss"])


@pytest.mark.slow
def test_frozen_layers_and_norms_stay_and_a_file_is_a_start(tmp_path: Path) -> None:
    import torch

    data = scenes(tmp_path / "images", 4, 0)
    first = FasterRcnn().train(data, recipe(freeze=5), tmp_path / "a", lambda row: None)
    second = FasterRcnn().train(data, recipe(freeze=5, init=str(first.weights)), tmp_path / "b", lambda row: None)
    a, b = (torch.load(t.weights, weights_only=True)["state"] for t in (first, second))
    for key in (
        "backbone.stem.0.weight",
        "backbone.blocks.4._project_conv.weight",
        "backbone.blocks.9._bn1.running_mean",
        "backbone.blocks.9._bn1.weight",
    ):
        assert torch.equal(a[key], b[key]), key
    assert not torch.equal(a["backbone.blocks.9._project_conv.weight"], b["backbone.blocks.9._project_conv.weight"])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"init": "yolov8n"}, "not for faster_rcnn"),
        ({"init": "champion"}, "weights file"),
        ({"init": "nowhere.pt"}, "no such file"),
        ({"extra": {"mosaic": 1}}, "mosaic"),
        ({"freeze": 17}, "16 blocks"),
    ],
)
def test_refuses_what_it_cannot_do(tmp_path: Path, values: dict[str, object], message: str) -> None:
    with pytest.raises(DetectorError, match=message):
        FasterRcnn().train(scenes(tmp_path / "images", 2, 0), recipe(**values), tmp_path / "out", lambda row: None)


def test_an_image_that_is_not_what_the_set_says_is_named(tmp_path: Path) -> None:
    data = scenes(tmp_path / "images", 2, 0)
    data.images[0].path.write_bytes(b"no image")
    with pytest.raises(DetectorError, match=r"0\.png: cannot be read"):
        FasterRcnn().train(data, recipe(), tmp_path / "out", lambda row: None)


def largest_anchor(model: Any) -> float:
    """The longest side of any anchor, of a square shape."""
    sides = model.rpn.anchor_generator.sizes
    return float(max(side for level in sides for side in level))


def test_scaled_anchors_are_the_recipes_and_stay_with_the_weights(tmp_path: Path) -> None:
    from carsdepo_assets.detectors.checkpoints import write_weights

    detector = FasterRcnn()
    usual = detector.initial_model(recipe(init="scratch"), NAMES)
    assert largest_anchor(usual) == 192
    assert "anchor_scale" not in usual.state_dict()  # weights are those that earlier releases wrote and read
    scaled = detector.initial_model(recipe(init="scratch", extra={"anchor_scale": 2.5}), NAMES)
    assert largest_anchor(scaled) == 480
    paths = {}
    for name, model in (("usual", usual), ("scaled", scaled)):
        paths[name] = tmp_path / f"{name}.pt"
        write_weights(paths[name], "faster_rcnn", model.state_dict(), NAMES, 96)
    assert largest_anchor(detector.load(paths["usual"], NAMES, 96).model) == 192
    assert largest_anchor(detector.load(paths["scaled"], NAMES, 96).model) == 480
    # A training that starts from these weights has the anchors of its own recipe.
    for scale, start, expected in ((1.0, "scaled", 192), (2.0, "usual", 384), (2.0, "scaled", 384)):
        own = detector.initial_model(recipe(init=str(paths[start]), extra={"anchor_scale": scale}), NAMES)
        assert largest_anchor(own) == expected
        assert float(own.state_dict().get("anchor_scale", 1.0)) == scale


def test_resnet50_has_torchvisions_anchors() -> None:
    from carsdepo_assets.detectors.faster_rcnn.resnet50 import FasterRcnnResNet50

    with pytest.raises(DetectorError, match="anchor_scale"):
        FasterRcnnResNet50("faster_rcnn_resnet50").check_extra(recipe(extra={"anchor_scale": 2.0}))
