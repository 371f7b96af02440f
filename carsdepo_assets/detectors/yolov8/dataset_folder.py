"""Writes a training set as the folder that ultralytics reads: links to images, labels as text."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from carsdepo_assets.detectors.base import TrainingImage, TrainingSet

# Shown to the validator, which cannot do without, where the set has no val; nothing is reported from them.
PLACEHOLDERS = 2


def label_lines(image: TrainingImage) -> str:
    """The boxes as text, one line each: class, centre x, centre y, width and height as shares of the image."""
    scale = np.array([image.width, image.height, image.width, image.height], dtype=float)
    corners = np.clip(image.xyxy.reshape(-1, 4) / scale, 0.0, 1.0)
    centre, side = (corners[:, :2] + corners[:, 2:]) / 2, corners[:, 2:] - corners[:, :2]
    rows = zip(image.classes, np.hstack([centre, side]), strict=True)
    return "".join(f"{int(c)} {x:.8f} {y:.8f} {w:.8f} {h:.8f}\n" for c, (x, y, w, h) in rows)


def _link(source: Path, target: Path) -> None:
    """A hard link, else (another device, no permission) a symbolic one. ultralytics repairs a JPEG by replacing the
    link, so the source stays as it is either way."""
    try:
        os.link(source.resolve(), target)
    except OSError:
        target.symlink_to(source.resolve())


def write_yolo_folder(data: TrainingSet, folder: Path) -> Path:
    """Writes the folder anew and returns its data.yaml, which is written as JSON, since JSON is YAML."""
    if folder.exists():
        shutil.rmtree(folder)
    train, val = data.split("train"), data.split("val")
    parts: dict[str, Sequence[TrainingImage]] = {"train": train, "val": val or train[:PLACEHOLDERS]}
    for part, images in parts.items():
        (folder / "images" / part).mkdir(parents=True)
        (folder / "labels" / part).mkdir(parents=True)
        for number, image in enumerate(sorted(images, key=lambda i: i.image_id)):
            stem = f"{number:06d}"  # image ids may hold any character
            _link(image.path, folder / "images" / part / f"{stem}{image.path.suffix.lower() or '.jpg'}")
            (folder / "labels" / part / f"{stem}.txt").write_text(label_lines(image))
    content = {"path": str(folder.absolute()), "train": "images/train", "val": "images/val"}
    yaml = folder / "data.yaml"
    yaml.write_text(json.dumps({**content, "names": list(data.class_names)}))
    return yaml
