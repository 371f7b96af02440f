"""The contract that every detector must keep; the test file of each family runs these checks."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from carsdepo_assets.detectors.base import Detector, Predictor, TrainingImage, TrainingSet
from carsdepo_assets.scoring.average_precision import coco_ap
from carsdepo_assets.scoring.boxes import Detections, Truth
from carsdepo_assets.scoring.matching import flatten
from carsdepo_assets_tests.detectors.killed_training import RECIPES
from carsdepo_assets_tests.detectors.scenes import scenes

ROOT = Path(__file__).parents[2]


def rgb(image: TrainingImage) -> np.ndarray:
    return np.ascontiguousarray(cv2.imread(str(image.path))[:, :, ::-1])


def map50(predictor: Predictor, images: Sequence[TrainingImage]) -> float:
    detections = predictor.predict([rgb(i) for i in images])
    flat = flatten([Truth(i.xyxy, i.classes) for i in images], detections, 2)
    return float(np.nanmean(coco_ap(flat, [(i.width, i.height) for i in images], 100)[0]))


def same(a: Detections, b: Detections) -> bool:
    return all(np.array_equal(getattr(a, k), getattr(b, k)) for k in ("xyxy", "scores", "classes"))


def check_predictions(predictor: Predictor) -> None:
    """Any size; boxes in the image, best first, at most 100; the same alone and among others, and twice."""
    random = np.random.default_rng(0)
    images = [random.integers(0, 255, (h, w, 3), dtype=np.uint8) for h, w in ((60, 200), (300, 40), (96, 96), (12, 9))]
    together = predictor.predict(images, min_score=0.0001)
    assert [same(a, b) for a, b in zip(together, predictor.predict(images, min_score=0.0001), strict=True)] == [
        True
    ] * 4
    for image, detections in zip(images, together, strict=True):
        assert same(detections, predictor.predict([image], min_score=0.0001)[0])
        height, width = image.shape[:2]
        assert detections.xyxy.shape == (len(detections), 4)
        assert detections.xyxy.dtype == np.float64
        assert len(detections) <= 100
        assert (detections.xyxy >= 0).all()
        assert (detections.xyxy <= [width, height, width, height]).all()
        assert (detections.xyxy[:, 2:] > detections.xyxy[:, :2]).all()
        assert (np.diff(detections.scores) <= 0).all()
        assert set(detections.classes.tolist()) <= {0, 1}
        assert detections.classes.dtype == np.int64
    assert sum(map(len, together)) > 0  # else nothing above was looked at
    assert sum(map(len, predictor.predict(images, min_score=0.9999))) == 0
    assert predictor.predict([]) == []


def kill_and_resume(
    detector: Detector, folder: Path
) -> tuple[list[dict[str, float]], list[dict[str, float]], TrainingSet, Path]:
    """(rows of the second attempt, history, set, weights) of a training SIGKILLed in its second epoch."""
    process = subprocess.run(
        [sys.executable, "-m", "carsdepo_assets_tests.detectors.killed_training", detector.name, str(folder)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert process.returncode == -signal.SIGKILL, process.stderr
    assert (folder / "out" / "checkpoint.pt").exists()
    assert not (folder / "out" / "weights.pt").exists()
    (folder / "out" / "checkpoint.pt.part").write_bytes(b"half of one")
    data = scenes(folder / "images", 4, 1)
    rows: list[dict[str, float]] = []
    trained = detector.train(data, RECIPES[detector.name], folder / "out", rows.append)
    return rows, trained.history, data, trained.weights
