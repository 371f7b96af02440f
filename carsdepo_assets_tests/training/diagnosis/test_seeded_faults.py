"""training/diagnosis/rules.py: a fault that is put into a real, tiny training is named; the families' loops tell it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from carsdepo_assets.detectors import training_loop, training_samples
from carsdepo_assets.detectors.faster_rcnn.detector import FasterRcnn
from carsdepo_assets.detectors.signals import Meter
from carsdepo_assets.detectors.yolov8 import training as yolo_training
from carsdepo_assets_tests.training.diagnosis.trainings import SHORT, balanced, changed, noise, recipe, train

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
FAMILIES = ("yolov8n", "faster_rcnn")
family = pytest.mark.parametrize("detector", FAMILIES)
# Over half a minute of Faster R-CNN, whose signals come from the loop that D-FINE and the other tests share.
slower = pytest.param("faster_rcnn", marks=pytest.mark.long)
family_long = pytest.mark.parametrize("detector", ["yolov8n", slower])


@pytest.fixture(autouse=True)
def _home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CARSDEPO_HOME", str(tmp_path_factory.mktemp("home")))


def on_model(monkeypatch: pytest.MonkeyPatch, change: Callable[[Any], None]) -> None:
    """Changes the model of either family when it is built."""
    build, get = FasterRcnn.initial_model, yolo_training.YoloTraining.get_model

    def initial_model(self: Any, *args: Any, **options: Any) -> Any:
        model = build(self, *args, **options)
        change(model)
        return model

    def get_model(self: Any, *args: Any, **options: Any) -> Any:
        model = get(self, *args, **options)
        change(model)
        return model

    monkeypatch.setattr(FasterRcnn, "initial_model", initial_model)
    monkeypatch.setattr(yolo_training.YoloTraining, "get_model", get_model)


@family
def test_a_learning_rate_of_a_thousand_diverges(detector: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    set_rates = yolo_training.YoloTraining._set_rates

    def too_high(training: Any) -> None:
        set_rates(training)
        for group in training.optimizer.param_groups:
            group["lr"] = 1e3

    if detector == "yolov8n":  # ultralytics refuses such a recipe
        monkeypatch.setattr(yolo_training.YoloTraining, "_set_rates", too_high)
    how = recipe(detector, 100, **({} if detector == "yolov8n" else {"lr": 1e3}))
    ending = train(balanced(tmp_path / "i", 24), how, tmp_path / "out")
    assert ending.stopped_by is not None
    # Clipped steps that large silence YOLOv8's layers at once, before its loss is no number.
    assert ending.stopped_by.name in ("diverged", "dead_gradients")
    assert "lr" in ending.stopped_by.advice
    assert ending.steps < 60


@family
def test_a_learning_rate_of_nearly_nothing_learns_nothing(detector: str, tmp_path: Path) -> None:
    batch = 8 if detector == "yolov8n" else 2  # the fewer boxes in a batch, the more YOLOv8's loss is noise
    ending = train(balanced(tmp_path / "i", 24), recipe(detector, 100, lr=1e-12, batch=batch), tmp_path / "out")
    assert {"lr_out_of_range", "loss_not_falling"} <= ending.names
    assert ending.stopped_by is not None
    assert (ending.stopped_by.name, ending.stopped_by.severity) == ("loss_not_falling", "hopeless")
    assert 40 <= ending.steps <= 100  # the policy's patience, and what chance adds to it


@family
def test_a_head_that_lets_no_gradient_through_is_dead(
    detector: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def detach(module: Any, given: tuple[Any, ...]) -> Any:
        (first, *rest) = given
        maps = [m.detach() for m in first] if isinstance(first, list) else first
        return (maps, *rest)

    def cut(model: Any) -> None:
        if hasattr(model, "roi_heads"):  # its layers are silenced, as by one large step: ReLU gives zero for ever
            for name in ("rpn.head.conv.0.0", "roi_heads.box_head.fc6"):
                layer = model.get_submodule(name)
                torch.nn.init.constant_(layer.bias, -1e4)
        else:
            model.model[-1].register_forward_pre_hook(detach)

    on_model(monkeypatch, cut)
    ending = train(balanced(tmp_path / "i", 24), recipe(detector, 100), tmp_path / "out")
    assert ending.stopped_by is not None
    assert ending.stopped_by.name == "dead_gradients"
    assert ending.steps == 10  # three measured steps, seen at the tenth


@family
def test_a_loss_of_another_scale_without_clipping_explodes(
    detector: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backward = torch.Tensor.backward
    monkeypatch.setattr(torch.Tensor, "backward", lambda loss, *args, **options: backward(loss * 1e5, *args, **options))
    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", lambda parameters, *args, **options: torch.zeros(()))
    ending = train(balanced(tmp_path / "i", 24), recipe(detector, 30), tmp_path / "out")
    assert "exploding_gradients" in ending.names
    assert ending["exploding_gradients"].figures["gradient_norm"] > 1e4


@family_long
def test_eight_photographs_are_learnt_by_heart(detector: str, tmp_path: Path) -> None:
    plain: dict[str, object] = {"ema": 0.9, "crop": 0.0, "flip": 0.0, "gain": 0.0}
    if detector == "yolov8n":
        plain = dict.fromkeys(("fliplr", "translate", "scale", "hsv_h", "hsv_s", "hsv_v"), 0.0)
    steps, lr = (240, 0.003) if detector == "yolov8n" else (120, 0.001)
    ending = train(noise(tmp_path / "i", 8, 6), recipe(detector, steps, batch=4, lr=lr, extra=plain), tmp_path / "out")
    assert "overfitting" in ending.names
    figures = ending["overfitting"].figures
    assert figures["val_loss"] > 1.5 * figures["loss"]


@family_long
def test_a_class_that_training_never_shows_is_named(detector: str, tmp_path: Path) -> None:
    """On val half of the boxes are dents; those of training were never drawn."""
    data, steps = balanced(tmp_path / "i", 12), 200 if detector == "yolov8n" else 80

    def mostly_scratches(image: Any) -> Any:
        empty = {"xyxy": np.zeros((0, 4)), "classes": np.zeros(0, int)}
        return image if image.classes[0] == 0 else replace(image, **empty)

    ending = train(changed(data, "train", mostly_scratches), recipe(detector, steps), tmp_path / "out")
    assert "class_never_predicted" in ending.names
    assert "class 1 (3 labelled boxes" in ending["class_never_predicted"].evidence


@family_long
def test_boxes_that_all_lie_in_one_place_collapse(
    detector: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Training boxes lie in the corner, whatever the photograph shows: a loader that mixes up its labels.

    Faster R-CNN, which looks at each place alike, must be blind besides to lose the photograph: its pictures are black.
    """

    def cornered(image: Any) -> Any:
        return replace(image, xyxy=np.array([[10.0, 10.0, 50.0, 40.0]]))

    def blind(model: Any) -> None:
        if hasattr(model, "roi_heads"):
            model.transform.register_forward_pre_hook(lambda part, given: ([i * 0 for i in given[0]], *given[1:]))

    on_model(monkeypatch, blind)
    data = changed(balanced(tmp_path / "i", 16), "train", cornered)
    plain = {"crop": 0.0, "flip": 0.0} if detector == "faster_rcnn" else {"fliplr": 0.0, "translate": 0.0, "scale": 0.0}
    steps = 180 if detector == "yolov8n" else 60
    ending = train(data, recipe(detector, steps, batch=4, extra=plain), tmp_path / "out")
    assert "boxes_collapsed" in ending.names
    assert ending["boxes_collapsed"].figures["spread_ratio"] < 0.2


class Clock:
    """Stands still, but where something is told to take time."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@family
def test_a_slow_disk_starves_the_training(detector: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading a batch takes 3 s of a clock that nothing else moves but 1 s for each optimizer step."""
    clock = Clock()
    module: Any = training_loop if detector == "faster_rcnn" else yolo_training
    monkeypatch.setattr(module, "Meter", partial(Meter, clock=clock))
    step = torch.optim.AdamW.step

    def slow_step(self: Any, *args: Any, **options: Any) -> Any:
        clock.now += 1.0
        return step(self, *args, **options)

    monkeypatch.setattr(torch.optim.AdamW, "step", slow_step)
    if detector == "faster_rcnn":
        read = training_samples.read_rgb

        def slow_read(image: Any) -> Any:
            clock.now += 1.5
            return read(image)

        monkeypatch.setattr(training_samples, "read_rgb", slow_read)
    else:
        batches = yolo_training.ResumableLoader.__iter__

        def slow_batches(self: Any) -> Any:
            for batch in batches(self):
                clock.now += 3.0
                yield batch

        monkeypatch.setattr(yolo_training.ResumableLoader, "__iter__", slow_batches)
    ending = train(balanced(tmp_path / "i", 24), recipe(detector, 20), tmp_path / "out", SHORT)
    assert "loader_starves" in ending.names
    assert ending["loader_starves"].figures["waiting_share"] == pytest.approx(0.75)
