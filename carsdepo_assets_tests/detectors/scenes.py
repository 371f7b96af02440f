"""Tiny training sets: a dark rectangle on a bright, noisy ground. Horizontal ones are class 0, upright ones class 1."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from carsdepo_assets.detectors.base import TrainingImage, TrainingSet


def write_scene(
    path: Path, seed: int, split: str, *, width: int = 96, height: int = 96, empty: bool = False
) -> TrainingImage:
    random = np.random.default_rng(seed)
    rgb = random.integers(170, 200, (height, width, 3), dtype=np.uint8)
    boxes, classes = np.zeros((0, 4)), np.zeros(0, dtype=np.int64)
    if not empty:
        kind = seed % 2
        w, h = (40, 20) if kind == 0 else (20, 40)
        x, y = int(random.integers(4, width - w - 4)), int(random.integers(4, height - h - 4))
        rgb[y : y + h, x : x + w] = (30, 30, 160) if kind == 0 else (160, 30, 30)
        boxes, classes = np.array([[x, y, x + w, y + h]], dtype=float), np.array([kind])
    cv2.imwrite(str(path), rgb[:, :, ::-1])
    return TrainingImage(f"image/{seed}", path, width, height, split, boxes, classes)


def scenes(folder: Path, n_train: int = 8, n_val: int = 2, n_empty: int = 0, **size: int) -> TrainingSet:
    folder.mkdir(parents=True, exist_ok=True)
    kinds = ["train"] * (n_train + n_empty) + ["val"] * n_val
    return TrainingSet(
        ("scratch", "dent"),
        [
            write_scene(folder / f"{i}.png", i, split, empty=n_train <= i < n_train + n_empty, **size)
            for i, split in enumerate(kinds)
        ],
    )
