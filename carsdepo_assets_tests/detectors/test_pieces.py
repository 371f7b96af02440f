"""detectors/postprocess.py, former_augmentation.py, training_samples.py, checkpoints.py, pace.py, yolov8/: arrays."""

from __future__ import annotations

import dataclasses
import json
import pickle
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from carsdepo_assets.detectors.base import Recipe, TrainingImage
from carsdepo_assets.detectors.catalogue import default_recipe, get_detector
from carsdepo_assets.detectors.checkpoints import (
    CHECKPOINT_FORMAT,
    DetectorError,
    fingerprint,
    read_checkpoint,
    read_weights,
    write_torch,
    write_weights,
)
from carsdepo_assets.detectors.former_augmentation import FormerAugmentation, formerly_augmented, visible_boxes
from carsdepo_assets.detectors.pace import Pace
from carsdepo_assets.detectors.postprocess import to_image_frame
from carsdepo_assets.detectors.training_samples import whole
from carsdepo_assets.detectors.yolov8 import ultralytics_settings
from carsdepo_assets.detectors.yolov8.dataset_folder import label_lines, write_yolo_folder
from carsdepo_assets.families import registry
from carsdepo_assets.imaging.resize import Letterboxed, NetworkInput, letterboxed
from carsdepo_assets_tests.detectors.scenes import scenes


def test_boxes_return_to_the_image_clipped_sorted_and_with_area() -> None:
    square = np.array([[10, 60, 20, 70], [-5, 0, 400, 400], [30, 10, 40, 20], [50, 60, 50, 70]], dtype=float)
    image = Letterboxed(np.zeros((200, 200, 3), np.uint8), 0.5, (0, 50), 200, 100)
    result = to_image_frame(square, np.array([0.2, 0.9, 0.8, 0.7]), np.array([0, 1, 0, 1]), image)
    assert result.xyxy.tolist() == [
        [0, 0, 200, 100],
        [20, 20, 40, 40],
    ]  # the third lies in the padding, the last has no area
    assert result.scores.tolist() == [0.9, 0.2]
    assert result.classes.tolist() == [1, 0]


@pytest.mark.parametrize(
    "image", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3), float), np.zeros((0, 4, 3), np.uint8)]
)
def test_refuses_what_is_no_rgb_image(image: np.ndarray) -> None:
    with pytest.raises(ValueError, match="HxWx3 uint8"):
        letterboxed(image, 64)


@pytest.mark.parametrize(
    ("box", "kept"),
    [
        ([10, 10, 20, 20], [[0, 0, 10, 10]]),
        ([0, 0, 5, 5], []),
        ([5, 10, 15, 20], [[0, 0, 5, 10]]),
        ([3, 10, 12, 20], []),
    ],
)
def test_a_crop_keeps_boxes_that_stay_visible(box: list[float], kept: list[list[float]]) -> None:
    boxes, classes = visible_boxes(np.array([box], float), np.array([1]), (10, 10, 20, 20), 0.4)
    assert boxes.tolist() == kept
    assert len(classes) == len(kept)


def test_augmented_boxes_still_surround_the_damage() -> None:
    rgb = np.full((80, 120, 3), 200, np.uint8)
    rgb[30:50, 20:60] = 0
    how = FormerAugmentation(flip=0.5, crop=1.0, crop_min=0.5, gain=0.2, min_visible=1.0)
    boxes, classes = np.array([[20.0, 30, 60, 50]]), np.array([0])
    shapes = set()
    for seed in range(30):
        image, xyxy, kept = formerly_augmented(rgb, boxes, classes, how, np.random.default_rng(seed))
        shapes.add(image.shape)
        ((x1, y1, x2, y2),) = xyxy.astype(int)
        dark = image[:, :, 0] < image.mean(dtype=float) / 2 + image.min() / 2
        assert dark[y1:y2, x1:x2].all()
        assert dark.sum() == (x2 - x1) * (y2 - y1)
        assert kept.tolist() == [0]
    assert len(shapes) > 5
    image, xyxy, _ = formerly_augmented(rgb, np.zeros((0, 4)), np.zeros(0, int), how, np.random.default_rng(0))
    assert xyxy.shape == (0, 4)


def test_the_training_square_is_the_serving_letterbox(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((50, 100, 3), np.uint8))
    box = np.array([[0.0, 0, 100, 50]])
    sample = whole(TrainingImage("a", tmp_path / "a.png", 100, 50, "val", box, np.array([1])), 64, torch.device("cpu"))
    served = letterboxed(np.zeros((50, 100, 3), np.uint8), NetworkInput(64, None)).pixels
    assert np.array_equal((sample.pixels * 255).round().numpy().transpose(1, 2, 0), served)
    assert (sample.boxes.tolist(), sample.classes.tolist()) == ([[0, 16, 64, 48]], [1])


def test_label_text_and_folder(tmp_path: Path) -> None:
    data = scenes(tmp_path / "images", 1, 0, n_empty=1)
    x1, y1, x2, y2 = data.images[0].xyxy[0] / 96
    values = [float(v) for v in label_lines(data.images[0]).split()]
    assert values == pytest.approx([0, (x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1], abs=1e-7)
    assert label_lines(data.images[1]) == ""
    for _ in range(2):  # made afresh each time
        yaml = write_yolo_folder(data, tmp_path / "yolo")
    assert yaml.exists()
    assert len(list((tmp_path / "yolo" / "images" / "train").iterdir())) == 2


def test_a_checkpoint_belongs_to_one_training(tmp_path: Path) -> None:
    data, recipe = scenes(tmp_path / "images", 2, 0), Recipe()
    mark = fingerprint(data, recipe)
    moved = dataclasses.replace(data.images[0], xyxy=data.images[0].xyxy + 1)
    others = [
        fingerprint(dataclasses.replace(data, images=[moved, data.images[1]]), recipe),
        fingerprint(data, recipe.model_copy(update={"lr": 0.5})),
        fingerprint(dataclasses.replace(data, class_names=("dent", "scratch")), recipe),
    ]
    assert len({mark, *others}) == 4
    assert fingerprint(dataclasses.replace(data, images=data.images[::-1]), recipe) == mark
    # Where the file of initial weights lies is no part of it: the home may have been moved.
    starts = [recipe.model_copy(update={"init": f"{home}/weights/{file}.pt"}) for file in "ab" for home in ("/x", "/y")]
    assert len({fingerprint(data, start) for start in starts}) == 2
    path = tmp_path / "checkpoint.pt"
    assert read_checkpoint(path, mark) is None
    write_torch(path, {"format": CHECKPOINT_FORMAT, "fingerprint": mark, "epoch": 3})
    assert read_checkpoint(path, others[0]) is None
    result = read_checkpoint(path, mark)
    assert result is not None
    assert result["epoch"] == 3


@pytest.mark.parametrize("what", ["garbage", "empty", "truncated", "another format", "no fingerprint"])
def test_a_checkpoint_that_cannot_be_read_is_set_aside(
    tmp_path: Path, what: str, caplog: pytest.LogCaptureFixture
) -> None:
    """It would fail every attempt of its training."""
    path = tmp_path / "checkpoint.pt"
    write_torch(path, {"format": CHECKPOINT_FORMAT, "fingerprint": "f", "weights": torch.zeros(1000)})
    whole = path.read_bytes()
    if what == "another format":
        write_torch(path, {"format": "carsdepo-checkpoint-1", "fingerprint": "f"})
    elif what == "no fingerprint":
        write_torch(path, {"format": CHECKPOINT_FORMAT})
    else:
        path.write_bytes({"garbage": bytes(range(256)) * 20, "empty": b"", "truncated": whole[:-500]}[what])
    assert read_checkpoint(path, "f") is None
    if what != "no fingerprint":
        assert not path.exists()
        assert (tmp_path / "checkpoint.pt.unreadable").exists()
        assert "begins anew" in caplog.text
        assert "weights_only" not in caplog.text
    assert read_checkpoint(path, "f") is None


def test_a_file_that_could_not_be_written_leaves_the_former_one_and_no_part(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    write_torch(path, {"format": CHECKPOINT_FORMAT})
    before = path.read_bytes()
    with pytest.raises((AttributeError, pickle.PicklingError)):
        write_torch(path, {"format": lambda: None})
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["checkpoint.pt"]


def test_settings_of_ultralytics_name_the_home_where_it_lies_now(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    ultralytics_settings._prepare(old)
    assert str(old / "weights") in (old / "Ultralytics/settings.json").read_text()
    old.rename(new)
    ultralytics_settings._prepare(new)
    file = new / "Ultralytics/settings.json"
    message = json.loads(file.read_text())
    assert [message[f"{name}_dir"] for name in ("datasets", "weights", "runs")] == [
        str(new / name) for name in ("datasets", "weights", "runs")
    ]
    assert str(old) not in file.read_text()
    assert message["sync"] is False
    written = file.stat().st_mtime_ns
    ultralytics_settings._prepare(new)
    assert file.stat().st_mtime_ns == written
    assert not old.exists()


def test_weights_say_whose_they_are(tmp_path: Path) -> None:
    import torch

    path = tmp_path / "weights.pt"
    write_weights(path, "yolov8n", {"a": torch.ones(2)}, ("scratch", "dent"), 96)
    assert read_weights(path, "yolov8n", ("scratch", "dent"))["state"]["a"].tolist() == [1, 1]
    for detector, names, message in (
        ("faster_rcnn", None, "weights of yolov8n"),
        ("yolov8n", ("dent",), "trained on classes"),
    ):
        with pytest.raises(DetectorError, match=message):
            read_weights(path, detector, names)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(DetectorError, match="not a file of tensors"):
        read_weights(path, "yolov8n")
    with pytest.raises(DetectorError, match="not finite"):
        write_weights(path, "yolov8n", {"a": torch.tensor([float("nan")])}, ("scratch",), 96)


@pytest.mark.parametrize(
    ("minutes", "spent", "finished", "planned"),
    [
        (None, 1e6, 1, 10),
        (1.0, 10, 1, 6),
        (1.0, 1, 1, 10),
        (1.0, 500, 1, 1),
        (1.0, 55, 5, 5),
        (1.0, 61, 7, 7),
    ],
)
def test_epochs_that_fit_into_the_minutes(minutes: float | None, spent: float, finished: int, planned: int) -> None:
    assert Pace(minutes, 10, spent).planned(finished) == planned


@pytest.mark.parametrize("detector", registry.names())
@pytest.mark.parametrize("device", ["cpu", "cuda:0"])
@pytest.mark.parametrize("real", [False, True])
def test_recipes_fit_their_minutes(detector: str, device: str, real: bool) -> None:
    few, many = (default_recipe(detector, minutes=m, n_train=400, device=device, real=real) for m in (2, 20))
    assert (few.detector, few.minutes, few.device) == (detector, 2, device)
    assert few.epochs < many.epochs or many.epochs == 300
    assert get_detector(detector).name == detector
    assert default_recipe(detector, minutes=0.1, n_train=10**6, device=device, real=real).epochs == 1
    assert default_recipe(detector, minutes=1e308, n_train=1, device=device, real=real).epochs == 300


def test_an_unknown_detector_is_named() -> None:
    with pytest.raises(DetectorError, match="yolov9"):
        get_detector("yolov9")
    with pytest.raises(DetectorError, match="yolov9"):
        default_recipe("yolov9", minutes=1, n_train=1, device="cpu", real=False)
