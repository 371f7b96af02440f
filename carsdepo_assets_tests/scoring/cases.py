"""Random images with truths and detections, and pycocotools' figures for them."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence

import numpy as np

from carsdepo_assets.scoring.boxes import Detections, Truth


def truth(*rows: tuple[float, float, float, float, int]) -> Truth:
    """One row a box: x1, y1, x2, y2, class."""
    table = np.array(rows, float).reshape(-1, 5)
    return Truth(table[:, :4], table[:, 4].astype(np.int64))


def detected(*rows: tuple[float, float, float, float, int, float]) -> Detections:
    """One row a box: x1, y1, x2, y2, class, score."""
    table = np.array(rows, float).reshape(-1, 6)
    return Detections(table[:, :4], table[:, 5], table[:, 4].astype(np.int64))


def random_images(
    seed: int, n: int, classes: Sequence[int] = (0, 1), truths_up_to: int = 5, noise_up_to: int = 8, whole: bool = False
) -> tuple[list[Truth], list[Detections]]:
    """Truths, detections near them and elsewhere; scores in steps of .05, so many are equal. whole: boxes on a grid."""
    rng = np.random.default_rng(seed)
    truths, detections = [], []
    for _ in range(n):
        t = _boxes(rng, int(rng.integers(0, truths_up_to + 1)))
        t_class = rng.choice(classes, len(t))
        near = t + rng.normal(0, 5, t.shape)
        near = np.concatenate((near, near[: len(near) // 2] + 2))
        near_class = np.concatenate((t_class, t_class[: len(t) // 2]))
        flip = rng.random(len(near)) < 0.2
        near_class = np.where(flip, rng.choice(classes, len(near)), near_class)
        noise = _boxes(rng, int(rng.integers(0, noise_up_to + 1)))
        d = np.concatenate((near, noise))
        d[:, 2:] = np.maximum(d[:, 2:], d[:, :2] + 1)
        d_class = np.concatenate((near_class, rng.choice(classes, len(noise))))
        if whole:
            t, d = np.round(t / 8) * 8, np.round(d / 8) * 8
            t[:, 2:], d[:, 2:] = np.maximum(t[:, 2:], t[:, :2] + 8), np.maximum(d[:, 2:], d[:, :2] + 8)
        keep = rng.random(len(d)) < 0.8
        truths.append(Truth(t, t_class.astype(np.int64)))
        scores = np.round(rng.random(len(d)) * 20) / 20
        detections.append(Detections(d[keep], scores[keep], d_class[keep].astype(np.int64)))
    return truths, detections


def with_crowds(seed: int, truths: Sequence[Truth]) -> list[Truth]:
    """The same images, where some of the boxes are crowd regions and some have a wide one around them."""
    rng = np.random.default_rng(seed)
    images = []
    for t in truths:
        around = rng.random(len(t)) < 0.3
        wide = t.xyxy[around] + np.array([-30, -30, 40, 40]) * rng.random((int(around.sum()), 1))
        crowd = np.r_[rng.random(len(t)) < 0.2, np.ones(len(wide), bool)]
        order = rng.permutation(len(crowd))
        boxes, classes = np.concatenate((t.xyxy, wide)), np.r_[t.classes, t.classes[around]]
        images.append(Truth(boxes[order], classes[order], crowd[order]))
    return images


def _boxes(rng: np.random.Generator, n: int) -> np.ndarray:
    corner = rng.uniform(0, 400, (n, 2))
    return np.concatenate((corner, corner + rng.uniform(10, 120, (n, 2))), axis=1)


def pycocotools_precision(
    truths: Sequence[Truth], detections: Sequence[Detections], n_classes: int, max_detections: int = 100
) -> np.ndarray:
    """(10 IoUs, 101 recalls, classes); -1 where a class has no truth."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    truth_file, rows = coco_content(truths, detections, n_classes)
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = truth_file
        coco.createIndex()
        if rows:
            results = coco.loadRes(rows)
        else:  # loadRes refuses an empty list
            results = COCO()
            results.dataset = {**truth_file, "annotations": []}
            results.createIndex()
        run = COCOeval(coco, results, "bbox")
        run.params.maxDets = [1, 10, max_detections]
        run.evaluate()
        run.accumulate()
    precision: np.ndarray = run.eval["precision"][:, :, :, 0, -1]
    return precision


def coco_content(
    truths: Sequence[Truth], detections: Sequence[Detections], n_classes: int
) -> tuple[dict[str, list[dict[str, object]]], list[dict[str, object]]]:
    annotations: list[dict[str, object]] = []
    for n, t in enumerate(truths):
        crowd = [False] * len(t) if t.crowd is None else t.crowd.tolist()
        for (x1, y1, x2, y2), c, k in zip(t.xyxy.tolist(), t.classes.tolist(), crowd, strict=True):
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": n + 1,
                    "category_id": c + 1,
                    "iscrowd": int(k),
                    "bbox": [x1, y1, x2 - x1, y2 - y1],
                    "area": (x2 - x1) * (y2 - y1),
                }
            )
    rows: list[dict[str, object]] = [
        {"image_id": n + 1, "category_id": c + 1, "bbox": [x1, y1, x2 - x1, y2 - y1], "score": s}
        for n, d in enumerate(detections)
        for (x1, y1, x2, y2), s, c in zip(d.xyxy.tolist(), d.scores.tolist(), d.classes.tolist(), strict=True)
    ]
    images: list[dict[str, object]] = [{"id": n + 1, "width": 640, "height": 640} for n in range(len(truths))]
    categories: list[dict[str, object]] = [{"id": c + 1, "name": f"class {c}"} for c in range(n_classes)]
    return {"images": images, "annotations": annotations, "categories": categories}, rows
