"""detectors/preflight.py, trainable.py: what cannot be trained is refused before the first step, by name."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pydantic import ValidationError

from carsdepo_assets.detectors.base import Recipe, TrainingSet
from carsdepo_assets.detectors.catalogue import get_detector
from carsdepo_assets.detectors.checkpoints import DetectorError
from carsdepo_assets.detectors.preflight import check_device, check_init, check_training
from carsdepo_assets.detectors.trainable import check_trainable
from carsdepo_assets.detectors.training_set import EmptyTrainingSet
from carsdepo_assets.families.built_in import BUILT_IN
from carsdepo_assets.lake.datasets import read_manifest
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.policy import Policy, TrainingPolicy
from carsdepo_assets_tests.detectors.family_contract import recipe_of
from carsdepo_assets_tests.detectors.scenes import scenes
from carsdepo_assets_tests.training.tiny_dataset import tiny_dataset

FAMILIES = [family.name for family in BUILT_IN]


def train(family: str, data: TrainingSet, out: Path, **changes: Any) -> None:
    get_detector(family).train(data, recipe_of(family, **changes), out, lambda row: None)


@pytest.mark.parametrize("family", FAMILIES)
def test_no_family_trains_on_nothing_or_by_a_recipe_that_cannot_be(
    family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    data = scenes(tmp_path / "images", 4, 1)
    out = tmp_path / "out"
    with pytest.raises(DetectorError, match="none of the 3 training images has a box"):
        train(family, scenes(tmp_path / "empty", 0, 1, n_empty=3), out)
    with pytest.raises(DetectorError, match="no image in split 'train'"):
        train(family, scenes(tmp_path / "val", 0, 1), out)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(DetectorError, match="asks for cuda:0, and this machine has no GPU"):
        train(family, data, out, device="cuda:0")
    with pytest.raises(DetectorError, match="mosaick"):
        train(family, data, out, extra={"mosaick": 1})
    with pytest.raises(DetectorError, match="extra"):
        train(family, data, out, extra={"scale" if family.startswith("yolo") else "ema": "large"})
    with pytest.raises(DetectorError, match="init champion must be given as its weights file"):
        train(family, data, out, init="champion")
    with pytest.raises(ValidationError, match="momentum_of_the_moon"):
        recipe_of(family, momentum_of_the_moon=1)
    assert not (out / "weights.pt").exists()


@pytest.mark.parametrize(
    ("device", "gpus", "message"),
    [
        ("cpu", 0, None),
        ("cuda:0", 1, None),
        ("cuda", 1, None),
        ("cuda:0", 0, "no GPU that torch can use"),
        ("cuda:2", 2, "has 2 GPUs, cuda:0 first"),
        ("cuda:1", 1, "has 1 GPU, cuda:0 first"),
        ("gpu", 1, "there are cpu, and cuda:0"),
        ("meta", 1, "there are cpu, and cuda:0"),
    ],
)
def test_a_device_is_there_or_is_named(
    device: str, gpus: int, message: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    if message is None:
        check_device(device)
    else:
        with pytest.raises(DetectorError, match=message):
            check_device(device)


@pytest.mark.parametrize(
    ("family", "init", "message"),
    [
        ("yolov8n", "yolov8n", None),
        ("yolov8s", "yolov8n", "init yolov8n is not for yolov8s, which has scratch, pretrained, champion or a weights"),
        ("dfine_n", "yolov8n", "init yolov8n is not for dfine_n"),
        ("faster_rcnn", "imagenet", None),
        ("yolov8n", "imagenet", "init imagenet is not for yolov8n"),
        ("faster_rcnn_resnet50", "imagenet", "init imagenet is not for faster_rcnn_resnet50"),
        ("faster_rcnn", "champion", "must be given as its weights file"),
        ("dfine_n", "pretrained", "must be given as its weights file"),
        ("dfine_n", "scratch", None),
        ("dfine_n", "weights/mine.pt", None),
    ],
)
def test_a_start_that_a_family_does_not_have_is_refused(family: str, init: str, message: str | None) -> None:
    if message is None:
        check_init(family, init)
    else:
        with pytest.raises(DetectorError, match=message):
            check_init(family, init)


def test_a_box_of_a_class_that_the_set_does_not_name_is_refused(tmp_path: Path) -> None:
    data = scenes(tmp_path / "images", 2, 0)
    strange = dataclasses.replace(data.images[1], classes=np.array([7]))
    with pytest.raises(DetectorError, match="image/1 has a box of class id 7, and the set names 2 classes"):
        check_training(TrainingSet(data.class_names, [data.images[0], strange]), Recipe())


def manifest(rows: list[tuple[str, list[int]]]) -> pa.Table:
    boxes = [[{"class_id": c} for c in classes] for _, classes in rows]
    kind = pa.list_(pa.struct([("class_id", pa.int64())]))
    return pa.table({"split": [split for split, _ in rows], "boxes": pa.array(boxes, kind)})


@pytest.mark.parametrize(
    ("rows", "limits", "message"),
    [
        ([("train", [0, 1]), ("train", []), ("val", [0])], {}, None),
        ([("train", [0, 1]), ("val", [0])], {}, "has 1 photograph in split train, and a training needs 2"),
        ([("val", [0]), ("test", [0])], {}, "has 0 photographs in split train"),
        ([("train", []), ("train", []), ("val", [0])], {}, "labels of all 2 training photographs are empty"),
        ([("train", [0]), ("train", [0]), ("val", [0])], {}, "too few boxes in split train of dent 0;"),
        ([("train", [0]), ("train", [0]), ("val", [0])], {"min_class_boxes": 0}, None),
        ([("train", [0, 1]), ("train", [0])], {"min_class_boxes": 2}, "too few boxes in split train of dent 1;"),
        ([("train", [0, 1]), ("train", []), ("val", [])], {}, "0 labelled boxes on 1 photographs of split val"),
        ([("train", [0, 1]), ("train", [])], {}, "0 labelled boxes on 0 photographs of split val"),
        ([("train", [0, 1]), ("train", [])], {"min_val_boxes": 0}, None),
        ([("train", [0, 1]), ("val", [0])], {"min_photographs": 1}, None),
        (
            [("train", [0, 1, 2]), ("train", [0]), ("val", [0])],
            {},
            "boxes of class id 2, and the class map has 2 cl",
        ),
        ([("train", [0, 1]), ("train", [0]), ("val", [0, 7])], {}, "boxes of class id 7, .*It only grows"),
        ([("train", [0, 1]), ("train", [0]), ("val", [0]), ("test", [7])], {}, None),
    ],
)
def test_a_dataset_with_too_little_is_not_trained_on(
    rows: list[tuple[str, list[int]]], limits: dict[str, Any], message: str | None
) -> None:
    policy = Policy(training=TrainingPolicy(**limits))
    if message is None:
        check_trainable(manifest(rows), "d1", policy)
    else:
        with pytest.raises(EmptyTrainingSet, match=f"dataset d1.*{message}"):
            check_trainable(manifest(rows), "d1", policy)


def test_the_tiny_dataset_of_the_tests_is_enough(tmp_path: Path) -> None:
    lake = Lake.open(tmp_path)
    check_trainable(read_manifest(lake, tiny_dataset(lake)), "d1", Policy())
