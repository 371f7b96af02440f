"""A baseline that a trained detector must exceed: thresholds and edges, without learning.

It reports what differs from its blurred surroundings: what is thin and long as a scratch, what is round as a dent.
Its thresholds are the best of 36 settings on 120 rendered photographs of other cars. Run as a script, it prints its
mAP@.5 on rendered photographs, which must stay under 0.2: else the sample would be too easy.
"""

from __future__ import annotations

import json
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from carsdepo_assets.demo.sample.casting import CLEAN_SHARE
from carsdepo_assets.demo.sample.render import photographs
from carsdepo_assets.demo.sample.scene import DENT, SCRATCH
from carsdepo_assets.demo.sample.write import plan
from carsdepo_assets.scoring.boxes import Detections, Truth
from carsdepo_assets.scoring.evaluation import evaluate

NAMES = ("scratch", "dent")
SEED, IMAGES = 2, 200
CEILING = 0.2  # a baseline above it means that the sample world is too easy
LONG = 150  # px: longer edges are the car's own
_AREA = (0.0008, 0.15)  # of a box, shares of the picture


def detect(rgb: NDArray[np.uint8]) -> Detections:
    """Boxes of an (H, W, 3) uint8 picture, at most 100, best first."""
    level = cv2.GaussianBlur(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), (0, 0), 1.0)
    boxes: list[tuple[float, int, tuple[float, float, float, float]]] = []
    edges = cv2.Canny(level, 80, 160)
    _, labels, stats, _ = cv2.connectedComponentsWithStats(edges)
    edges[np.isin(labels, np.flatnonzero(stats[:, 2:4].max(axis=1) > LONG))] = 0
    edges = cv2.morphologyEx(edges, cv2.MORPH_CLOSE, np.ones((21, 21), np.uint8))
    apart = cv2.absdiff(level, cv2.medianBlur(level, 51))
    blobs = cv2.morphologyEx((apart > 12).astype(np.uint8) * 255, cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8))
    for mask in (edges, blobs):
        boxes += _boxes(mask, apart)
    boxes.sort(key=lambda b: -b[0])
    boxes = boxes[:100]
    return Detections(
        np.array([b[2] for b in boxes], np.float64).reshape(-1, 4),
        np.array([b[0] for b in boxes]),
        np.array([b[1] for b in boxes], np.int64),
    )


def _boxes(
    mask: NDArray[np.uint8], apart: NDArray[np.uint8]
) -> list[tuple[float, int, tuple[float, float, float, float]]]:
    """(score, class id, xyxy) of each connected part of a mask: contrast, and room to the picture's edge."""
    height, width = mask.shape
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask)
    boxes = []
    for i in range(1, count):
        x, y, w, h, area = (int(v) for v in stats[i])
        share = w * h / (width * height)
        if not _AREA[0] < share < _AREA[1] or x == 0 or y == 0 or x + w == width or y + h == height:
            continue
        fill = area / (w * h)
        contrast = float(apart[y : y + h, x : x + w][labels[y : y + h, x : x + w] == i].mean()) / 255
        round_enough = 0.5 < w / h < 2 and fill > 0.45
        boxes.append(
            (
                min(1.0, contrast * (0.5 + fill)),
                DENT if round_enough else SCRATCH,
                (float(x), float(y), float(x + w), float(y + h)),
            )
        )
    return boxes


def measure(n_images: int = IMAGES, seed: int = SEED) -> tuple[float, int]:
    """mAP@.5 of the baseline on rendered photographs, and the number of boxes it was measured on."""
    truths: list[Truth] = []
    detections: list[Detections] = []
    for car, count in plan(n_images, seed, None, CLEAN_SHARE):
        for _, photo in zip(range(count), photographs(car), strict=False):
            rows = np.array(photo.boxes, np.float64).reshape(-1, 5)
            truths.append(Truth(rows[:, 1:], rows[:, 0].astype(np.int64)))
            detections.append(detect(photo.rgb))
    scored = evaluate(truths, detections, NAMES)
    if scored.map50 is None:
        raise ValueError(f"{n_images} photographs of seed {seed} show no damage: nothing to score")
    return scored.map50, sum(map(len, truths))


def run() -> list[dict[str, Any]]:
    map50, boxes = measure()
    return [
        {
            "name": f"threshold and edges, {IMAGES} rendered photographs, {boxes} boxes",
            "value": round(map50, 3),
            "unit": "mAP@.5",
            "against": f"must stay under {CEILING}",
            "ratio": round(map50 / CEILING, 2),
        }
    ]


if __name__ == "__main__":
    print(json.dumps(run(), indent=1))
