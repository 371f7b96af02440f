"""Matches detections with labelled boxes ("truths"), for many images at once.

COCO's rule: within an image and class, the detections in order of falling score each take the free labelled box with
the largest IoU of at least `iou`; of equal overlaps the later one. Order and arithmetic are those of pycocotools, so
that counts and curves made here agree with its AP.

A crowd region is no labelled box: none can be missed, and a detection that matches no labelled box and lies in a crowd
region of its class by `iou` of its own area counts neither way (`outside_crowds`).
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from carsdepo_assets.scoring.boxes import Detections, Truth

_PAIRS_AT_ONCE = 2_000_000  # about 200 MB of intermediate arrays


class ScoringError(ValueError):
    """Labelled boxes and detections cannot be scored; the message names the image and what is wrong with it."""


@dataclass(frozen=True)
class Flat:
    """The boxes of all images in flat arrays: labelled boxes by image, detections by image, class and falling score."""

    n_images: int
    """number of images, those without boxes too"""
    n_classes: int
    """number of classes"""
    truth_image: NDArray[np.int64]
    """(n_truth,), position of the labelled box's image"""
    truth_class: NDArray[np.int64]
    """(n_truth,), class ids"""
    truth_xyxy: NDArray[np.float64]
    """(n_truth, 4), corners in the image's pixels"""
    truth_row: NDArray[np.int64]
    """(n_truth,), position of the box within its own image, as it was given"""
    det_image: NDArray[np.int64]
    """(n_det,), position of the detection's image"""
    det_class: NDArray[np.int64]
    """(n_det,), class ids"""
    det_xyxy: NDArray[np.float64]
    """(n_det, 4), corners in the image's pixels"""
    det_score: NDArray[np.float64]
    """(n_det,), 0..1"""
    det_row: NDArray[np.int64]
    """(n_det,), position of the detection within its own image, as it was given"""
    crowd_image: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    """(n_crowd,), position of the crowd region's image"""
    crowd_class: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    """(n_crowd,), class ids"""
    crowd_xyxy: NDArray[np.float64] = field(default_factory=lambda: np.zeros((0, 4)))
    """(n_crowd, 4), corners in the image's pixels"""


@dataclass(frozen=True)
class Matches:
    """Which detection matches which labelled box; each matches one at most."""

    det_truth: NDArray[np.int64]
    """(n_det,), position in Flat of the labelled box that the detection matches; -1: none"""
    truth_det: NDArray[np.int64]
    """(n_truth,), position in Flat of the detection that matches the labelled box; -1: none"""


@dataclass(frozen=True)
class Pairs:
    """Pairs of a detection and a labelled box of the same image, in order of detection, then of labelled box."""

    det: NDArray[np.int64]
    """(n,), position of the detection in Flat"""
    truth: NDArray[np.int64]
    """(n,), position of the labelled box in Flat"""
    iou: NDArray[np.float64]
    """(n,), their intersection over union"""


def flatten(
    truths: Sequence[Truth], detections: Sequence[Detections], n_classes: int, max_detections: int = 100
) -> Flat:
    """Puts the boxes of all images into flat arrays and checks them.

    Args:
        truths: labelled boxes, one entry an image.
        detections: detections, one entry an image.
        n_classes: number of classes.
        max_detections: detections of an image and class that are kept, the best ones.

    Raises:
        ScoringError: lengths, shapes, class ids or scores do not fit, or a box is inverted or not finite.
    """
    if len(truths) != len(detections):
        raise ScoringError(f"{len(truths)} images have truths and {len(detections)} have detections: give both.")
    t_image, t_box, t_class, t_row = _columns("truth", [t.xyxy for t in truths], [t.classes for t in truths], n_classes)
    crowd = _crowds(truths)
    d_image, d_box, d_class, d_row = _columns(
        "detections", [d.xyxy for d in detections], [d.classes for d in detections], n_classes
    )
    scores = [np.asarray(d.scores, float).reshape(-1) for d in detections]
    for i, d in enumerate(detections):
        if len(scores[i]) != len(d.classes):
            raise ScoringError(f"image {i}: {len(scores[i])} scores for {len(d.classes)} detections.")
    score = np.concatenate(scores) if scores else np.zeros(0)
    bad = ~((score >= 0) & (score <= 1))
    if bad.any():
        at = int(np.flatnonzero(bad)[0])
        raise ScoringError(f"image {d_image[at]}: detection {d_row[at]} has score {score[at]}: it must lie in 0..1.")
    order = np.lexsort((-score, d_class, d_image))  # stable: of equal scores the one given first
    order = order[_position(d_image[order] * n_classes + d_class[order]) < max_detections]
    return Flat(
        n_images=len(truths),
        n_classes=n_classes,
        truth_image=t_image[~crowd],
        truth_class=t_class[~crowd],
        truth_xyxy=t_box[~crowd],
        truth_row=t_row[~crowd],
        det_image=d_image[order],
        det_class=d_class[order],
        det_xyxy=d_box[order],
        det_score=score[order],
        det_row=d_row[order],
        crowd_image=t_image[crowd],
        crowd_class=t_class[crowd],
        crowd_xyxy=t_box[crowd],
    )


def _crowds(truths: Sequence[Truth]) -> NDArray[np.bool_]:
    """Which of all labelled boxes are crowd regions."""
    marks = [np.zeros(len(t), bool) if t.crowd is None else np.asarray(t.crowd, bool).reshape(-1) for t in truths]
    for i, (mark, t) in enumerate(zip(marks, truths, strict=True)):
        if len(mark) != len(t):
            raise ScoringError(f"image {i}: {len(mark)} marks of crowd regions for {len(t)} labelled boxes.")
    return np.concatenate(marks) if marks else np.zeros(0, bool)


def outside_crowds(flat: Flat, iou: float) -> Flat:
    """Leaves out the detections that count neither way, as they match no labelled box and lie in a crowd region.

    Args:
        flat: the boxes of all images.
        iou: overlap from which a detection matches a labelled box, and the share of its area from which it lies in a
            crowd region of its class.
    """
    if not len(flat.crowd_image):
        return flat
    as_truth = replace(flat, truth_image=flat.crowd_image, truth_class=flat.crowd_class, truth_xyxy=flat.crowd_xyxy)
    inside = np.zeros(len(flat.det_image), bool)
    inside[overlapping(as_truth, iou, same_class=True, of_detection=True).det] = True
    kept = ~inside | (match(flat, iou).det_truth >= 0)
    return replace(
        flat,
        det_image=flat.det_image[kept],
        det_class=flat.det_class[kept],
        det_xyxy=flat.det_xyxy[kept],
        det_score=flat.det_score[kept],
        det_row=flat.det_row[kept],
    )


def _columns(
    what: str, boxes: list[NDArray[np.float64]], classes: list[NDArray[np.int64]], n_classes: int
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]]:
    counts = [len(c) for c in classes]
    for i, (box, n) in enumerate(zip(boxes, counts, strict=True)):
        if np.shape(box) != (n, 4) and not (n == 0 and np.size(box) == 0):
            raise ScoringError(f"image {i}: {what} has boxes of shape {np.shape(box)} for {n} classes: not ({n}, 4).")
    image = np.repeat(np.arange(len(counts)), counts)
    box = np.concatenate([np.asarray(b, float).reshape(-1, 4) for b in boxes]) if boxes else np.zeros((0, 4))
    kind = np.concatenate([np.asarray(c).reshape(-1) for c in classes]).astype(np.int64) if classes else image
    row = _position(image)
    checks = (
        (~np.isfinite(box).all(axis=1), "is not finite"),
        ((box[:, 2] < box[:, 0]) | (box[:, 3] < box[:, 1]), "is inverted (x2 < x1 or y2 < y1)"),
    )
    for bad, problem in checks:
        if bad.any():
            at = int(np.flatnonzero(bad)[0])
            raise ScoringError(f"image {image[at]}: {what}: box {row[at]} {box[at].tolist()} {problem}.")
    bad = (kind < 0) | (kind >= n_classes)
    if bad.any():
        at = int(np.flatnonzero(bad)[0])
        raise ScoringError(f"image {image[at]}: {what}: box {row[at]} has class {kind[at]}; there are {n_classes}.")
    return image, box, kind, row


def _position(sorted_keys: NDArray[np.int64]) -> NDArray[np.int64]:
    """0, 1, 2 ... within each run of equal keys."""
    n = len(sorted_keys)
    if n == 0:
        return np.zeros(0, np.int64)
    starts = np.flatnonzero(np.r_[True, sorted_keys[1:] != sorted_keys[:-1]])
    return np.arange(n) - np.repeat(starts, np.diff(np.r_[starts, n]))


def overlapping(flat: Flat, min_iou: float, *, same_class: bool, of_detection: bool = False) -> Pairs:
    """Finds the pairs of a detection and a labelled box of one image that overlap.

    Args:
        flat: the boxes of all images.
        min_iou: overlap of a pair at least; 0: pairs that share any area.
        same_class: only pairs of the same class.
        of_detection: the overlap is the share of the detection's area and not of the union, as with crowd regions.
    """
    per_image = np.bincount(flat.truth_image, minlength=flat.n_images)
    first = np.cumsum(per_image) - per_image
    n_pairs = per_image[flat.det_image] if len(flat.det_image) else np.zeros(0, np.int64)
    chunk = np.cumsum(n_pairs) // _PAIRS_AT_ONCE
    parts: list[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]] = []
    for c in np.unique(chunk):
        dets = np.flatnonzero(chunk == c)
        det = np.repeat(dets, n_pairs[dets])
        truth = first[flat.det_image[det]] + _position(det)
        if same_class:
            keep = flat.det_class[det] == flat.truth_class[truth]
            det, truth = det[keep], truth[keep]
        iou = _iou(flat.det_xyxy[det], flat.truth_xyxy[truth], of_detection)
        keep = (iou >= min(min_iou, 1 - 1e-10)) & (iou > 0)
        parts.append((det[keep], truth[keep], iou[keep]))
    if not parts:
        return Pairs(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0))
    return Pairs(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def _iou(a: NDArray[np.float64], b: NDArray[np.float64], of_first: bool) -> NDArray[np.float64]:
    """IoU by row, or the shared part of the first one's area.

    The arithmetic is pycocotools' (maskApi.c, bbIou on x, y, w, h), so that ties at the threshold agree.
    """
    aw, ah = a[:, 2] - a[:, 0], a[:, 3] - a[:, 1]
    bw, bh = b[:, 2] - b[:, 0], b[:, 3] - b[:, 1]
    w = np.minimum(aw + a[:, 0], bw + b[:, 0]) - np.maximum(a[:, 0], b[:, 0])
    h = np.minimum(ah + a[:, 1], bh + b[:, 1]) - np.maximum(a[:, 1], b[:, 1])
    inter = np.where((w > 0) & (h > 0), w * h, 0.0)
    union = aw * ah if of_first else aw * ah + bw * bh - inter
    return np.divide(inter, union, out=np.zeros_like(inter), where=union > 0)


def assign(flat: Flat, pairs: Pairs) -> Matches:
    """Matches the given pairs by COCO's greedy rule, described in this module's docstring.

    It works in rounds, for speed: the first detection of every image, then the second of every image, and so on.

    Args:
        flat: the boxes of all images.
        pairs: the pairs that may match.
    """
    det_truth = np.full(len(flat.det_image), -1, np.int64)
    truth_det = np.full(len(flat.truth_image), -1, np.int64)
    if not len(pairs.det):
        return Matches(det_truth, truth_det)
    dets = np.unique(pairs.det)
    by_turn = dets[np.lexsort((dets, -flat.det_score[dets], flat.det_image[dets]))]
    turn = np.zeros(len(flat.det_image), np.int64)
    turn[by_turn] = _position(flat.det_image[by_turn])
    order = np.lexsort((pairs.truth, pairs.iou, pairs.det, turn[pairs.det]))
    det, truth = pairs.det[order], pairs.truth[order]
    bounds = np.searchsorted(turn[det], np.arange(turn.max() + 2))
    for start, stop in itertools.pairwise(bounds):
        free = truth_det[truth[start:stop]] < 0
        d, t = det[start:stop][free], truth[start:stop][free]
        best = np.r_[d[1:] != d[:-1], True][: len(d)]  # the last of each detection: its largest IoU
        det_truth[d[best]] = t[best]
        truth_det[t[best]] = d[best]
    return Matches(det_truth, truth_det)


def match(flat: Flat, iou: float) -> Matches:
    """Matches detections with labelled boxes of their image and class by COCO's rule.

    Args:
        flat: the boxes of all images.
        iou: overlap from which a detection matches a labelled box.
    """
    return assign(flat, overlapping(flat, iou, same_class=True))
