"""detectors/training_samples.py, recipe_options.py, yolov8/varied_dataset.py: trainings get what a recipe declares."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from carsdepo_assets.detectors.base import Interrupted, Progress, Recipe
from carsdepo_assets.detectors.catalogue import default_recipe, get_detector, usual_augmentation
from carsdepo_assets.detectors.checkpoints import DetectorError
from carsdepo_assets.detectors.training_samples import Variation, labelled_pixels
from carsdepo_assets.families.built_in import BUILT_IN
from carsdepo_assets.families.registry import family_of, register, unregister
from carsdepo_assets.imaging.augmentation import augmented, chance_of
from carsdepo_assets.policy_augmentation import AugmentationSettings
from carsdepo_assets_tests.detectors import cells_family
from carsdepo_assets_tests.detectors.family_contract import recipe_of
from carsdepo_assets_tests.detectors.scenes import scenes

DECLARED = AugmentationSettings(
    flip=0.5, crop=0.3, scale=0.4, translate=0.3, mosaic=0.4, brightness=0.3, saturation=0.4, noise=0.3, min_visible=0.5
)


@pytest.fixture(autouse=True)
def _cells() -> Iterator[None]:
    register(cells_family.FAMILY)
    yield
    unregister("cells")


def test_a_recipe_without_augmentation_is_written_as_before() -> None:
    """Its text and digest are those of releases that knew no augmentation; tests/families pins their digests."""
    recipe = Recipe(detector="faster_rcnn", extra={"flip": 0.2})
    assert "augmentation" not in recipe.model_dump()
    assert "augmentation" not in json.loads(recipe.model_dump_json())
    assert Recipe().digest() == "ffa83ca8c090"
    declared = recipe.model_copy(update={"extra": {}, "augmentation": DECLARED})
    assert Recipe.model_validate_json(declared.model_dump_json()) == declared
    text = json.dumps(declared.model_dump(mode="json"), sort_keys=True)
    assert declared.digest() == hashlib.sha256(text.encode()).hexdigest()[:12]  # as `reproduce` compares it
    digests = {Recipe(augmentation=a).digest() for a in (None, DECLARED, AugmentationSettings())}
    assert len(digests) == 3


@pytest.mark.parametrize("real", [True, False])
@pytest.mark.parametrize("family", BUILT_IN, ids=lambda f: f.name)
def test_every_built_in_family_declares_its_usual_values(family: Any, real: bool) -> None:
    recipe = default_recipe(family.name, minutes=1, n_train=8, device="cpu", real=real)
    assert recipe.augmentation == usual_augmentation(family, real=real)
    assert recipe.augmentation is not None
    assert (recipe.augmentation.flip, recipe.extra) == (0.5, {})
    assert (recipe.augmentation.scale == 0.2) == (family.name.startswith("yolo") and not real)
    assert family.normalisation is not None


def test_a_family_that_varies_by_itself_declares_nothing() -> None:
    assert default_recipe("cells", minutes=1, n_train=8, device="cpu", real=True).augmentation is None


@pytest.mark.parametrize(
    ("family", "name"),
    [
        ("cells", "gain"),
        ("faster_rcnn", "crop"),
        ("dfine_n", "flip"),
        pytest.param("yolov8n", "hsv_h", marks=pytest.mark.slow),
        pytest.param("yolov8n", "degrees", marks=pytest.mark.slow),
    ],
)
def test_augmentation_is_not_said_twice(family: str, name: str, tmp_path: Path) -> None:
    recipe = recipe_of(family, augmentation=DECLARED, extra={name: 0.1})
    with pytest.raises(DetectorError, match=rf"may not set {name}: recipe.augmentation says how"):
        get_detector(family).train(scenes(tmp_path / "i", 2, 1), recipe, tmp_path / "out", lambda row: None)
    assert not (tmp_path / "out").exists()


def test_a_sample_hangs_on_seed_epoch_and_image_alone(tmp_path: Path) -> None:
    """Not on what was read before it, nor on the place of the image among the others."""
    images, cpu = scenes(tmp_path / "i", 6, 0).split("train"), torch.device("cpu")
    how = DECLARED.model_copy(update={"mosaic": 0.0})
    first, other = (Variation(some, 64, how, 3, cpu) for some in (images, images[::-1][:4]))
    forward = {(i.image_id, e): first.sample(i, e) for e in range(3) for i in images}
    for epoch in (2, 0, 1):
        for image in images[::-1][:4]:
            again, before = other.sample(image, epoch), forward[image.image_id, epoch]
            assert torch.equal(again.pixels, before.pixels)
            assert torch.equal(again.boxes, before.boxes)
            assert again.dropped == before.dropped
    assert not torch.equal(forward[images[0].image_id, 0].pixels, forward[images[0].image_id, 1].pixels)


def test_a_sample_is_what_the_pages_show(tmp_path: Path) -> None:
    images = scenes(tmp_path / "i", 5, 0).split("train")
    for epoch, image in enumerate(images):
        shown = augmented(
            labelled_pixels(image), 64, DECLARED, chance_of(7, epoch, image.image_id),
            lambda share: labelled_pixels(images[int(share * 5)]),
        )  # fmt: skip
        got = Variation(images, 64, DECLARED, 7, torch.device("cpu")).sample(image, epoch)
        assert np.array_equal((got.pixels * 255).round().byte().numpy().transpose(1, 2, 0), shown.rgb)
        assert got.boxes.numpy() == pytest.approx(shown.xyxy)
        assert (got.classes.tolist(), got.dropped) == (shown.classes.tolist(), shown.dropped)


@pytest.mark.parametrize(
    "family",
    ["cells", pytest.param("faster_rcnn", marks=pytest.mark.slow), pytest.param("yolov8n", marks=pytest.mark.slow)],
)
def test_a_training_that_is_interrupted_inside_an_epoch_sees_the_same_pictures(family: str, tmp_path: Path) -> None:
    """The same weights, and the same count of dropped boxes, as of one that is not."""
    data = scenes(tmp_path / "i", 8, 1)
    recipe = recipe_of(family, augmentation=DECLARED, batch=2, steps=8, image_size=96)
    rows: dict[str, list[dict[str, float]]] = {"whole": [], "again": []}

    def interrupt(progress: Progress) -> None:
        raise Interrupted

    def train(out: str, **options: Any) -> str:
        trained = get_detector(family).train(data, recipe, tmp_path / out, rows[out].append, **options)
        return hashlib.sha256(trained.weights.read_bytes()).hexdigest()

    whole = train("whole")
    with pytest.raises(Interrupted):
        train("again", watch=interrupt)
    checkpoint = torch.load(tmp_path / "again" / "checkpoint.pt", weights_only=True)
    assert (checkpoint["epoch"], checkpoint["batches"]) == (0, 1)
    assert train("again") == whole
    dropped = {name: [row["boxes_dropped"] for row in found] for name, found in rows.items()}
    assert dropped["again"] == dropped["whole"]
    assert sum(dropped["whole"]) > 0


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_yolov8_is_given_what_is_declared_whoever_loads_it(tmp_path: Path) -> None:
    """By one process or by two, from the first batch on or from where a training was interrupted."""
    from carsdepo_assets.detectors.yolov8.dataset_folder import write_yolo_folder
    from carsdepo_assets.detectors.yolov8.ultralytics_settings import ultralytics

    ultralytics()
    from ultralytics.cfg import get_cfg
    from ultralytics.data.build import build_dataloader, build_yolo_dataset
    from ultralytics.data.utils import check_det_dataset

    from carsdepo_assets.detectors.yolov8.batch_order import ResumableLoader
    from carsdepo_assets.detectors.yolov8.varied_dataset import DROPPED, VariedDataset

    data = scenes(tmp_path / "i", 6, 1)
    images = data.split("train")
    folder = check_det_dataset(str(write_yolo_folder(data, tmp_path / "yolo")))
    settings = get_cfg(overrides={"imgsz": 96, "task": "detect", "cache": "ram"})
    read = build_yolo_dataset(settings, folder["train"], 2, folder, mode="train", rect=False, stride=32)
    dataset = VariedDataset(read, data, DECLARED, 5)

    def batches(workers: int, epoch: int, skip: int) -> list[dict[str, Any]]:
        loader = build_dataloader(dataset, batch=2, workers=workers, device=SimpleNamespace(type="cpu"))
        return list(ResumableLoader(loader, 5, epoch, skip, with_epoch=True))

    alone = batches(0, 4, 0)
    order = np.random.default_rng([5, 4]).permutation(6)
    for found, first in ((alone, 0), (batches(2, 4, 0), 0), (batches(0, 4, 1), 1)):
        assert len(found) == 3 - first
        for number, batch in enumerate(found, first):
            for place, index in enumerate(order[number * 2 : number * 2 + 2]):
                image = images[index]
                expected = augmented(
                    labelled_pixels(image), 96, DECLARED, chance_of(5, 4, image.image_id),
                    lambda share: labelled_pixels(images[int(share * 6)]),
                )  # fmt: skip
                assert np.array_equal(batch["img"][place].numpy().transpose(1, 2, 0), expected.rgb)
                boxes = batch["bboxes"][batch["batch_idx"] == place].numpy() * 96
                corners = np.hstack([boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2])
                assert corners == pytest.approx(expected.xyxy, abs=0.01)
                assert batch[DROPPED][place] == expected.dropped


@pytest.mark.parametrize(
    "family", ["faster_rcnn", pytest.param("faster_rcnn_resnet50", marks=pytest.mark.slow), "faster_rcnn_lite2"]
)
def test_the_recorded_normalisation_is_the_models(family: str) -> None:
    transform = get_detector(family).build(2, 64, imagenet=False).transform  # type: ignore[attr-defined]
    normalisation = family_of(family).normalisation
    assert normalisation is not None
    assert (tuple(transform.image_mean), tuple(transform.image_std)) == (normalisation.mean, normalisation.std)
