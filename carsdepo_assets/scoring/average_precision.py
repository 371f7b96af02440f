"""AP as COCO defines it: 101 recall points, by hotcoco (equal to pycocotools) or, for one IoU and weights, here."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from carsdepo_assets.scoring.matching import Flat

RECALLS = np.linspace(0.0, 1.0, 101)
IOUS = np.linspace(0.5, 0.95, 10)


def coco_ap(flat: Flat, image_sizes: Sequence[tuple[int, int]] | None, max_detections: int) -> np.ndarray:
    """(10 IoUs .5 to .95, classes): AP over all areas; NaN for a class without a truth."""
    import hotcoco

    if not len(flat.truth_image):
        return np.full((len(IOUS), flat.n_classes), np.nan)
    # COCO's own images and annotations count from 1; an annotation id of 0 would read as "no match".
    sizes = image_sizes or [(1, 1)] * flat.n_images
    images = [{"id": i + 1, "width": w, "height": h} for i, (w, h) in enumerate(sizes)]
    categories = [{"id": c + 1, "name": str(c)} for c in range(flat.n_classes)]
    truth = hotcoco.COCO.from_arrays(
        images, categories, flat.truth_image + 1, flat.truth_class + 1, _xywh(flat.truth_xyxy)
    )
    rows = np.column_stack((flat.det_image + 1, _xywh(flat.det_xyxy), flat.det_score, flat.det_class + 1))
    run = hotcoco.COCOeval(truth, truth.load_res(rows.astype(float)), "bbox")
    run.params.max_dets = [1, 10, max_detections] if max_detections > 10 else [max_detections]
    run.params.area_rng = [[0.0, 1e10]]
    run.params.area_rng_lbl = ["all"]
    run.evaluate()
    run.accumulate()
    result = run.eval
    if result is None:
        raise RuntimeError("hotcoco gave no result after accumulate(): is the pinned version installed?")
    precision = np.asarray(result["precision"])[:, :, :, 0, -1]
    mean = precision.mean(axis=1)
    mean[precision[:, 0, :] < 0] = np.nan  # -1: the class has no truth
    return mean


def _xywh(xyxy: np.ndarray) -> np.ndarray:
    return np.column_stack((xyxy[:, 0], xyxy[:, 1], xyxy[:, 2] - xyxy[:, 0], xyxy[:, 3] - xyxy[:, 1]))


def interpolated(hit: np.ndarray, n_truth: float, weights: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Precision at RECALLS and the detection that reaches each (-1: never), for one class.

    hit (N,): in order of falling score, whether the detection found a truth; weights (N,): how often its image counts;
    n_truth: the truths, so weighted. Precision is the largest at this recall or beyond (pycocotools' accumulate).
    """
    one = np.ones(len(hit)) if weights is None else weights
    found = np.cumsum(one * hit)
    seen = np.cumsum(one)
    precision = np.maximum.accumulate((found / (seen + np.spacing(1)))[::-1])[::-1]
    at = np.searchsorted(found / n_truth, RECALLS, side="left")
    reached = at < len(hit)
    out = np.zeros(len(RECALLS))
    out[reached] = precision[at[reached]]
    return out, np.where(reached, at, -1)
