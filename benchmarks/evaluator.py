"""Our evaluator against pycocotools and faster-coco-eval: 5,000 synthetic images, two classes, 0 to 20 boxes found.

Ours is timed with all that evaluate() gives (AP, curves, sweep, confusion); the others with loading from memory,
evaluate and accumulate. AP@.5:.95 of all three must agree, else run() raises.
"""

from __future__ import annotations

import contextlib
import io
import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from carsdepo_assets.scoring.average_precision import coco_ap
from carsdepo_assets.scoring.boxes import Detections, Truth
from carsdepo_assets.scoring.evaluation import evaluate
from carsdepo_assets.scoring.matching import flatten

N_IMAGES = 5_000
CLASSES = ("scratch", "dent")


def synthetic(n: int, seed: int = 0) -> tuple[list[Truth], list[Detections]]:
    """0 to 5 truths an image of 640 x 480; detections near most of them, and up to 15 elsewhere."""
    rng = np.random.default_rng(seed)
    truths, detections = [], []
    for _ in range(n):
        t = _boxes(rng, int(rng.integers(0, 6)))
        c = rng.integers(0, 2, len(t))
        near = t + rng.normal(0, 4, t.shape)
        near[:, 2:] = np.maximum(near[:, 2:], near[:, :2] + 1)
        noise = _boxes(rng, int(rng.integers(0, 16)))
        scores = np.concatenate((rng.beta(4, 2, len(near)), rng.beta(1, 5, len(noise))))
        truths.append(Truth(t, c))
        detections.append(
            Detections(np.concatenate((near, noise)), scores, np.concatenate((c, rng.integers(0, 2, len(noise)))))
        )
    return truths, detections


def _boxes(rng: np.random.Generator, n: int) -> NDArray[np.float64]:
    corner = rng.uniform((0, 0), (560, 400), (n, 2))
    return np.concatenate((corner, corner + rng.uniform(8, 80, (n, 2))), axis=1)


def _coco(truths: list[Truth], detections: list[Detections]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    annotations: list[dict[str, Any]] = []
    rows: list[dict[str, Any]] = []
    for n, (t, d) in enumerate(zip(truths, detections, strict=True)):
        for (x1, y1, x2, y2), c in zip(t.xyxy.tolist(), t.classes.tolist(), strict=True):
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": n + 1,
                    "category_id": c + 1,
                    "iscrowd": 0,
                    "bbox": [x1, y1, x2 - x1, y2 - y1],
                    "area": (x2 - x1) * (y2 - y1),
                }
            )
        for (x1, y1, x2, y2), s, c in zip(d.xyxy.tolist(), d.scores.tolist(), d.classes.tolist(), strict=True):
            rows.append({"image_id": n + 1, "category_id": c + 1, "bbox": [x1, y1, x2 - x1, y2 - y1], "score": s})
    truth = {
        "images": [{"id": n + 1, "width": 640, "height": 480} for n in range(len(truths))],
        "annotations": annotations,
        "categories": [{"id": c + 1, "name": name} for c, name in enumerate(CLASSES)],
    }
    return truth, rows


def _pycocotools(truth: dict[str, Any], rows: list[dict[str, Any]]) -> float:
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    coco = COCO()
    coco.dataset = truth
    coco.createIndex()
    run = COCOeval(coco, coco.loadRes(rows), "bbox")
    run.evaluate()
    run.accumulate()
    return float(run.eval["precision"][:, :, :, 0, -1].mean())


def _faster_coco_eval(truth: dict[str, Any], rows: list[dict[str, Any]]) -> float:
    from faster_coco_eval import COCO, COCOeval_faster

    coco = COCO(truth)
    run = COCOeval_faster(coco, coco.loadRes(rows), "bbox")
    run.evaluate()
    run.accumulate()
    return float(run.eval["precision"][:, :, :, 0, -1].mean())


def _timed(work: Callable[[], float], times: int) -> tuple[float, float]:
    """(median seconds, the figure)."""
    seconds = []
    for _ in range(times):
        start = time.perf_counter()
        with contextlib.redirect_stdout(io.StringIO()):
            figure = work()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds), figure


def run() -> list[dict[str, Any]]:
    """Rows name, value, unit, against, ratio: how many times as long the other takes (above 1: ours is faster)."""
    truths, detections = synthetic(N_IMAGES)
    sizes = [(640, 480)] * N_IMAGES

    def ours() -> float:
        value = evaluate(truths, detections, CLASSES, sizes, threshold=0.3).map50_95
        assert value is not None
        return value

    def ours_ap() -> float:
        return float(coco_ap(flatten(truths, detections, len(CLASSES)), sizes, 100).mean())

    ours()  # imports and first allocations stay out of the times
    whole, figure = _timed(ours, 5)
    ap_only, ap_figure = _timed(ours_ap, 5)
    rows = []
    # loadRes and createIndex write into what they are given: each run gets its own copy, made outside the clock
    for name, other in (("pycocotools", _pycocotools), ("faster-coco-eval", _faster_coco_eval)):
        copies = [json.loads(json.dumps(_coco(truths, detections))) for _ in range(3)]
        seconds, theirs = _timed(lambda other=other, copies=copies: other(*copies.pop()), 3)  # type: ignore[misc]
        for mine in (figure, ap_figure):
            if abs(mine - theirs) > 1e-9:
                raise RuntimeError(f"AP@.5:.95 is {mine} here and {theirs} in {name}: the evaluator is wrong.")
        rows.append(_row(f"evaluator: every figure of {N_IMAGES:,} images", whole, name, seconds))
        rows.append(_row(f"evaluator: AP alone of {N_IMAGES:,} images", ap_only, name, seconds))
    return rows


def _row(name: str, value: float, other: str, seconds: float) -> dict[str, Any]:
    return {
        "name": name,
        "value": round(value, 4),
        "unit": "s",
        "against": f"{other} {seconds:.3g} s",
        "ratio": round(seconds / value, 2),
    }


if __name__ == "__main__":
    for row in run():
        print(row)
