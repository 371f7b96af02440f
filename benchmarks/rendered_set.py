"""The rendered sample as a training set for benchmarks that train without the lake."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from carsdepo_assets.detectors.base import TrainingImage, TrainingSet


def rendered_set(folder: Path, longest_side: int) -> TrainingSet:
    """What `write_sample` wrote, as upright photographs of this longest side; a fifth of the cars is of val."""
    with (folder / "manifest.csv").open() as file:
        rows = list(csv.DictReader(file))
    cars = sorted({row["group"] for row in rows})
    of_val = set(cars[::5])
    small = folder / "small"
    small.mkdir()
    images = []
    for row in rows:
        upright = ImageOps.exif_transpose(Image.open(folder / "images" / row["file"])).convert("RGB")
        upright.thumbnail((longest_side, longest_side))
        path = small / f"{len(images)}.jpg"
        upright.save(path, quality=90)
        label = (folder / "labels" / row["file"]).with_suffix(".txt")
        numbers = np.array(label.read_text().split(), float).reshape(-1, 5)
        size = np.array([*upright.size, *upright.size])
        centre, side = numbers[:, 1:3], numbers[:, 3:5]
        boxes = np.concatenate([centre - side / 2, centre + side / 2], axis=1) * size
        split = "val" if row["group"] in of_val else "train"
        images.append(TrainingImage(row["file"], path, *upright.size, split, boxes, numbers[:, 0].astype(np.int64)))
    return TrainingSet(("scratch", "dent"), images)
