"""Average precision (AP) as COCO defines it: the mean precision at 101 recalls.

The ten IoUs of COCO are computed by hotcoco, whose figures equal those of pycocotools. AP at one IoU with weighted
images, as the bootstrap needs it, is computed here.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from carsdepo_assets.scoring.matching import Flat

RECALLS = np.linspace(0.0, 1.0, 101)
IOUS = np.linspace(0.5, 0.95, 10)


def coco_ap(flat: Flat, image_sizes: Sequence[tuple[int, int]] | None, max_detections: int) -> NDArray[np.float64]:
    """Computes COCO's AP over all areas, at each IoU and for each class.

    Args:
        flat: the boxes of all images.
        image_sizes: (width, height) of each image; no figure depends on them. None: unknown.
        max_detections: detections of an image and class that count, the best ones.

    Returns:
        (10, classes), one row for each of IOUS; NaN for a class without a labelled box.
    """
    import hotcoco

    if not len(flat.truth_image):
        return np.full((len(IOUS), flat.n_classes), np.nan)
    # COCO's ids of images and annotations count from 1; an annotation id of 0 would mean "no match".
    sizes = image_sizes or [(1, 1)] * flat.n_images
    images = [{"id": i + 1, "width": w, "height": h} for i, (w, h) in enumerate(sizes)]
    categories = [{"id": c + 1, "name": str(c)} for c in range(flat.n_classes)]
    truth = hotcoco.COCO.from_arrays(
        images,
        categories,
        np.r_[flat.truth_image, flat.crowd_image] + 1,
        np.r_[flat.truth_class, flat.crowd_class] + 1,
        _xywh(np.concatenate((flat.truth_xyxy, flat.crowd_xyxy))),
        iscrowd=np.r_[np.zeros(len(flat.truth_image), np.int64), np.ones(len(flat.crowd_image), np.int64)],
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


def _xywh(xyxy: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.column_stack((xyxy[:, 0], xyxy[:, 1], xyxy[:, 2] - xyxy[:, 0], xyxy[:, 3] - xyxy[:, 1]))


def interpolated(
    hit: NDArray[np.bool_], n_truth: float, weights: NDArray[np.float64] | None = None
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Computes the precision of one class at each of the 101 RECALLS.

    The precision at a recall is the largest at this recall or any higher one, as in pycocotools' `accumulate`.

    Args:
        hit: (N,), whether each detection matches a labelled box, in order of falling score.
        n_truth: number of labelled boxes, weighted like the detections.
        weights: (N,), how often the image of each detection counts; None: once.

    Returns:
        (101,) precisions, 0 at recalls that are not reached; and (101,) positions of the detection with which each
        recall is reached, -1 where it is not.
    """
    one = np.ones(len(hit)) if weights is None else weights
    true_positives = np.cumsum(one * hit)
    detections = np.cumsum(one)
    precision = np.maximum.accumulate((true_positives / (detections + np.spacing(1)))[::-1])[::-1]
    at = np.searchsorted(true_positives / n_truth, RECALLS, side="left")
    reached = at < len(hit)
    out = np.zeros(len(RECALLS))
    out[reached] = precision[at[reached]]
    return out, np.where(reached, at, -1)
