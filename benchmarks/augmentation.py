"""Augmentation stored beforehand or applied while training: disk, CPU time of an epoch, and mAP@.5 for equal steps.

It plans about 12 minutes of two cores and says so first. Trainings that are over are kept in a file of this name in
the folder CARSDEPO_BENCHMARKS (default: the folder of temporary files) and not repeated. CARSDEPO_BENCH_STEPS
(default 240) is their length in optimizer steps, CARSDEPO_BENCH_SEEDS (default 1) how many of each.
"""

from __future__ import annotations

import dataclasses
import json
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.temporary_home import temporary_home
from carsdepo_assets.orchestration.code_version import code_version_of

if TYPE_CHECKING:
    from carsdepo_assets.detectors.base import Recipe, TrainingImage, TrainingSet

CODE = ("carsdepo_assets.imaging.augmentation", "carsdepo_assets.detectors.catalogue")
PHOTOGRAPHS, SEED, MINUTES = 400, 77, 12
STORED_PX, COPIES, QUALITY = 640, 4, 90  # of a stored copy: its side, how many a photograph, JPEG
SIDE = 160  # of the square that the network sees
VARIANTS = ("none", "ultralytics' own", "applied", f"stored, {COPIES} copies")


def run() -> list[dict[str, Any]]:
    """Rows on disk and time, then a row a training."""
    steps, seeds = int(os.environ.get("CARSDEPO_BENCH_STEPS", "240")), int(os.environ.get("CARSDEPO_BENCH_SEEDS", "1"))
    print(f"{len(VARIANTS) * seeds} trainings of {steps} steps, about {MINUTES * seeds} minutes on two cores.")
    folder = Path(os.environ.get("CARSDEPO_BENCHMARKS", tempfile.gettempdir()))
    kept = folder / f"augmentation-{code_version_of(*CODE)}.jsonl"
    stored_rows = [json.loads(line) for line in kept.read_text().splitlines()] if kept.exists() else []
    with temporary_home() as settings:
        os.environ.update(settings.variables())
        from benchmarks.rendered_set import rendered_set
        from carsdepo_assets.demo.sample.write import write_sample

        write_sample(settings.home / "sample", PHOTOGRAPHS, SEED)
        data = rendered_set(settings.home / "sample", STORED_PX)
        recipe = _recipe(steps)
        stored, cpu_s = _store(data, recipe, settings.home / "stored")
        rows = _costs(data, stored, recipe, cpu_s)
        for seed in range(1, seeds + 1):
            for variant in VARIANTS:
                plan = [variant, seed, steps]
                result = next((row for row in stored_rows if row["plan"] == plan), None)
                if result is None:
                    out = settings.home / f"{seed}-{VARIANTS.index(variant)}"
                    result = {"plan": plan, **_train(data, stored, variant, _recipe(steps, seed), out)}
                    with kept.open("a") as file:
                        file.write(json.dumps(result) + "\n")
                    print(f"{variant}, seed {seed}: mAP@.5 {result['map50']:.3f}", flush=True)
                rows.append(_row(result, data))
    return rows


def _recipe(steps: int, seed: int = 1) -> Recipe:
    from carsdepo_assets.detectors.catalogue import default_recipe

    usual = default_recipe("yolov8n", minutes=10, n_train=PHOTOGRAPHS, device="cpu", real=False, image_size=SIDE)
    return usual.model_copy(update={"steps": steps, "minutes": None, "epochs": 1000, "seed": seed})


def _store(data: TrainingSet, recipe: Recipe, folder: Path) -> tuple[TrainingSet, float]:
    """Copies of the training photographs as COPIES epochs would see them, at the stored size; and their CPU seconds."""
    from carsdepo_assets.detectors.base import TrainingSet
    from carsdepo_assets.detectors.training_samples import labelled_pixels
    from carsdepo_assets.imaging.augmentation import augmented, chance_of
    from carsdepo_assets.imaging.encode import encode_jpeg

    assert recipe.augmentation is not None
    folder.mkdir()
    images: list[TrainingImage] = list(data.split("val"))
    started = time.process_time()
    for image in data.split("train"):
        for copy in range(COPIES):
            chance = chance_of(recipe.seed, copy, image.image_id)
            square = augmented(labelled_pixels(image), STORED_PX, recipe.augmentation, chance)
            path = folder / f"{len(images)}.jpg"
            path.write_bytes(encode_jpeg(square.rgb, QUALITY))
            images.append(
                dataclasses.replace(
                    image, image_id=f"{image.image_id}#{copy}", path=path, width=STORED_PX, height=STORED_PX,
                    xyxy=square.xyxy, classes=square.classes,
                )
            )  # fmt: skip
    return TrainingSet(data.class_names, images), time.process_time() - started


def _costs(data: TrainingSet, stored: TrainingSet, recipe: Recipe, stored_cpu_s: float) -> list[dict[str, Any]]:
    import torch

    from carsdepo_assets.detectors.training_samples import Variation, labelled_pixels, whole
    from carsdepo_assets.imaging.augmentation import LabelledPixels, augmented, chance_of
    from carsdepo_assets.imaging.resize import fit_longest

    how = recipe.augmentation
    assert how is not None
    train, copies, device = data.split("train"), stored.split("train"), torch.device("cpu")
    variation = Variation(train, SIDE, how, 1, device)
    small = []
    for image in train:
        pixels = labelled_pixels(image)
        rgb, scale = fit_longest(pixels.rgb, SIDE)
        small.append(LabelledPixels(rgb, pixels.xyxy * scale, pixels.classes))

    def cached(number: int) -> object:
        return augmented(small[number], SIDE, how, chance_of(1, 0, train[number].image_id))

    def row(name: str, read: Callable[[int], object], against: str = "") -> dict[str, Any]:
        started = time.process_time()
        for number in range(len(train)):
            read(number)
        spent = (time.process_time() - started) / len(train) * 1000
        return {"name": f"{name}, at {SIDE} px", "value": spent, "unit": "ms of CPU a photograph", "against": against}

    sizes = [sum(image.path.stat().st_size for image in images) for images in (train, copies)]
    return [
        {
            "name": f"bytes of {COPIES} stored copies of a photograph of {STORED_PX} px",
            "value": sizes[1] / len(train),
            "unit": "bytes",
            "against": f"the processed photograph: {sizes[0] / len(train):,.0f}",
            "ratio": sizes[1] / sizes[0],
        },
        {
            "name": f"making and storing {COPIES} copies, once",
            "value": stored_cpu_s / len(train) * 1000,
            "unit": "ms of CPU a photograph",
        },
        row("an epoch, augmented from the processed photographs", lambda i: variation.sample(train[i], 0)),
        row("an epoch, read from stored copies", lambda i: whole(copies[i * COPIES], SIDE, device)),
        row("an epoch, not augmented, from the processed photographs", lambda i: whole(train[i], SIDE, device)),
        row("an epoch, augmented from small photographs in memory, as YOLOv8 has them", cached),
    ]


def _train(data: TrainingSet, stored: TrainingSet, variant: str, recipe: Recipe, out: Path) -> dict[str, Any]:
    from carsdepo_assets.detectors.catalogue import get_detector
    from carsdepo_assets.detectors.training_samples import read_rgb
    from carsdepo_assets.policy_augmentation import AugmentationSettings
    from carsdepo_assets.scoring.bootstrap import bootstrap_map50
    from carsdepo_assets.scoring.boxes import Truth

    nothing = AugmentationSettings()
    changes: dict[str, dict[str, Any]] = {
        "none": {"augmentation": nothing},
        "ultralytics' own": {"augmentation": None, "extra": {"scale": 0.2, "translate": 0.05}},
        "applied": {},
    }
    used = recipe.model_copy(update=changes.get(variant, {"augmentation": nothing}))
    started = time.process_time()
    detector = get_detector(recipe.detector)
    trained = detector.train(stored if variant.startswith("stored") else data, used, out, lambda row: None)
    cpu_s = time.process_time() - started
    val = data.split("val")
    predictor = detector.load(trained.weights, data.class_names, SIDE)
    detections = [predictor.predict([read_rgb(image)])[0] for image in val]
    truths = [Truth(image.xyxy.reshape(-1, 4), image.classes) for image in val]
    interval = bootstrap_map50(truths, detections, len(data.class_names), _cars(val))
    return {"map50": interval.value, "low": interval.low, "high": interval.high, "cpu_s": cpu_s, "steps": trained.steps}


def _cars(images: Sequence[TrainingImage]) -> list[str]:
    return [image.image_id.rpartition("_")[0] for image in images]


def _row(result: dict[str, Any], data: TrainingSet) -> dict[str, Any]:
    variant, seed, steps = result["plan"]
    val = data.split("val")
    boxes, cars = sum(len(image.classes) for image in val), len(set(_cars(val)))
    return {
        "name": f"YOLOv8n, {steps} steps of 8, seed {seed}, augmentation {variant}: mAP@.5 on {len(val)} photographs, "
        f"{cars} cars, {boxes} boxes, 95 % interval {result['low']:.3f} to {result['high']:.3f}",
        "value": result["map50"],
        "unit": "mAP@.5",
        "against": f"{result['cpu_s']:.0f} CPU s",
    }
