"""`python -m …detectors.killed_training DETECTOR FOLDER`: a training that is SIGKILLed in its second report."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from carsdepo_assets.detectors.base import Recipe
from carsdepo_assets.detectors.catalogue import get_detector
from carsdepo_assets_tests.detectors.scenes import scenes

RECIPES = {
    "yolov8n": Recipe(detector="yolov8n", image_size=96, epochs=3, batch=4, extra={"threads": 1}),
    "faster_rcnn": Recipe(
        detector="faster_rcnn",
        init="imagenet",
        image_size=96,
        epochs=3,
        batch=2,
        lr=0.0005,
        freeze=5,
        extra={"threads": 1},
    ),
}


def kill_in_second(row: dict[str, float]) -> None:
    if row["epoch"] == 2:
        os.kill(os.getpid(), signal.SIGKILL)


def main(name: str, folder: Path) -> None:
    get_detector(name).train(scenes(folder / "images", 4, 1), RECIPES[name], folder / "out", kill_in_second)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
