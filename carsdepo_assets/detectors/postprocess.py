"""From a network's raw output to the boxes of an image: non-maximum suppression and the way back from the letterbox.

Without torch: the rule and float32 arithmetic of ultralytics.utils.nms (multi_label).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from carsdepo_assets.imaging.resize import Letterboxed, unletterbox
from carsdepo_assets.scoring.boxes import Detections

CLASS_OFFSET = np.float32(7680)  # pixels between the planes of two classes, so that they don't suppress each other
MAX_CANDIDATES = 30_000


def boxes_of_head(
    head: NDArray[Any], min_score: float, iou: float, max_boxes: int
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Turns the output of YOLOv8's head for one image into boxes.

    An anchor gives a box for each class above min_score. Of equal scores the earlier anchor, then class, wins.

    Args:
        head: (4 + classes, anchors) float32: centre x, centre y, width and height in pixels of the network's image,
            then the classes' scores, of 1.
        min_score: Boxes must have a higher score, of 1.
        iou: Overlap from which the better of two boxes suppresses the other, of 1.
        max_boxes: Number of boxes at most.

    Returns:
        Corners (n, 4) in pixels of the network's image, scores (n,) and class ids (n,), best first.
    """
    head = np.ascontiguousarray(head[:, head[4:].max(axis=0) > min_score].T)
    half = head[:, 2:4] / 2
    corners = np.concatenate((head[:, :2] - half, head[:, :2] + half), axis=1)
    anchors, classes = np.nonzero(head[:, 4:] > min_score)
    boxes, scores = corners[anchors], head[anchors, 4 + classes]
    if len(scores) > MAX_CANDIDATES:
        best = np.argsort(-scores, kind="stable")[:MAX_CANDIDATES]
        boxes, scores, classes = boxes[best], scores[best], classes[best]
    apart = boxes + classes[:, None].astype(np.float32) * CLASS_OFFSET
    kept = suppress(apart, scores, iou, max_boxes)
    return boxes[kept], scores[kept], classes[kept]


def suppress(xyxy: NDArray[Any], scores: NDArray[Any], iou: float, max_boxes: int) -> NDArray[np.int64]:
    """Non-maximum suppression, equal to torchvision.ops.nms: each box drops the worse ones that it overlaps too much.

    Args:
        xyxy: Boxes, (n, 4) float32. Two boxes without area do not overlap.
        scores: Their scores, (n,).
        iou: The largest overlap that two boxes may have, of 1.
        max_boxes: Number of boxes at most.

    Returns:
        Indices of the boxes that stay, best first.
    """
    x1, y1, x2, y2 = np.ascontiguousarray(xyxy.T)
    order = np.argsort(-scores, kind="stable")
    kept: list[int] = []
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):  # boxes without area, or beyond float32
        areas = (x2 - x1) * (y2 - y1)
        while len(order) and len(kept) < max_boxes:
            first, rest = order[0], order[1:]
            kept.append(int(first))
            # fmax: what is not a number (infinite sides) counts as no overlap, as std::max has it
            width = np.fmax(np.minimum(x2[first], x2[rest]) - np.maximum(x1[first], x1[rest]), 0)
            height = np.fmax(np.minimum(y2[first], y2[rest]) - np.maximum(y1[first], y1[rest]), 0)
            shared = width * height
            # in float64, as torchvision compares its float32 overlap with the double threshold
            order = rest[~((shared / (areas[first] + areas[rest] - shared)).astype(np.float64) > iou)]
    return np.array(kept, np.int64)


MAX_BOXES = 100


def to_image_frame(xyxy: NDArray[Any], scores: NDArray[Any], classes: NDArray[Any], image: Letterboxed) -> Detections:
    """Moves boxes from the letterboxed image back to the image.

    Args:
        xyxy: Boxes in pixels of the network's image, (n, 4).
        scores: Their scores, (n,).
        classes: Their class ids, (n,).
        image: What the network was given.

    Returns:
        At most MAX_BOXES boxes, best first, clipped to the image; boxes without area are left out.
    """
    boxes = unletterbox(xyxy, image.scale, image.offset, image.width, image.height)
    keep = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
    order = np.argsort(-scores[keep], kind="stable")[:MAX_BOXES]
    return Detections(boxes[keep][order], scores[keep][order].astype(np.float64), classes[keep][order].astype(np.int64))
