"""Which detection found which truth, for many images at once.

COCO's rule: within an image and class, detections in order of falling score each take the free truth with the largest
IoU of at least `iou`; of equal overlaps the later truth. The same order and arithmetic as pycocotools, so counts and
curves made here agree with its AP.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from carsdepo_assets.scoring.boxes import Detections, Truth

_PAIRS_AT_ONCE = 2_000_000  # about 200 MB of intermediate arrays


class ScoringError(ValueError):
    """Truths and detections that cannot be scored; the message names the image and what is wrong with it."""


@dataclass(frozen=True)
class Flat:
    """All images' boxes in arrays. Detections by image, class, falling score; max_detections an image and class.

    det_row and truth_row: the row of the box within its own image, as it was given.
    """

    n_images: int
    n_classes: int
    truth_image: np.ndarray
    truth_class: np.ndarray
    truth_xyxy: np.ndarray
    truth_row: np.ndarray
    det_image: np.ndarray
    det_class: np.ndarray
    det_xyxy: np.ndarray
    det_score: np.ndarray
    det_row: np.ndarray


@dataclass(frozen=True)
class Matches:
    """det_truth (n_det,): index of the flat truth that it found, else -1; truth_det (n_truth,): the other way round."""

    det_truth: np.ndarray
    truth_det: np.ndarray


@dataclass(frozen=True)
class Pairs:
    """Overlapping boxes of one image: flat indices and their IoU, all of one length, by detection, then truth."""

    det: np.ndarray
    truth: np.ndarray
    iou: np.ndarray


def flatten(
    truths: Sequence[Truth], detections: Sequence[Detections], n_classes: int, max_detections: int = 100
) -> Flat:
    """Raises ScoringError on lengths, shapes, class ids, NaN, inverted boxes and scores that don't fit."""
    if len(truths) != len(detections):
        raise ScoringError(f"{len(truths)} images have truths and {len(detections)} have detections: give both.")
    t_image, t_box, t_class, t_row = _columns("truth", [t.xyxy for t in truths], [t.classes for t in truths], n_classes)
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
        truth_image=t_image,
        truth_class=t_class,
        truth_xyxy=t_box,
        truth_row=t_row,
        det_image=d_image[order],
        det_class=d_class[order],
        det_xyxy=d_box[order],
        det_score=score[order],
        det_row=d_row[order],
    )


def _columns(
    what: str, boxes: list[np.ndarray], classes: list[np.ndarray], n_classes: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
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


def _position(sorted_keys: np.ndarray) -> np.ndarray:
    """0, 1, 2 ... within each run of equal keys."""
    n = len(sorted_keys)
    if n == 0:
        return np.zeros(0, np.int64)
    starts = np.flatnonzero(np.r_[True, sorted_keys[1:] != sorted_keys[:-1]])
    return np.arange(n) - np.repeat(starts, np.diff(np.r_[starts, n]))


def overlapping(flat: Flat, min_iou: float, *, same_class: bool) -> Pairs:
    """Pairs of one image (and one class) whose IoU is at least min_iou; with min_iou 0 those that touch at all."""
    per_image = np.bincount(flat.truth_image, minlength=flat.n_images)
    first = np.cumsum(per_image) - per_image
    n_pairs = per_image[flat.det_image] if len(flat.det_image) else np.zeros(0, np.int64)
    chunk = np.cumsum(n_pairs) // _PAIRS_AT_ONCE
    parts: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    for c in np.unique(chunk):
        dets = np.flatnonzero(chunk == c)
        det = np.repeat(dets, n_pairs[dets])
        truth = first[flat.det_image[det]] + _position(det)
        if same_class:
            keep = flat.det_class[det] == flat.truth_class[truth]
            det, truth = det[keep], truth[keep]
        iou = _iou(flat.det_xyxy[det], flat.truth_xyxy[truth])
        keep = (iou >= min(min_iou, 1 - 1e-10)) & (iou > 0)
        parts.append((det[keep], truth[keep], iou[keep]))
    if not parts:
        return Pairs(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0))
    return Pairs(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def _iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Row by row, in pycocotools' arithmetic (maskApi.c bbIou on x, y, w, h) so that ties at the threshold agree."""
    aw, ah = a[:, 2] - a[:, 0], a[:, 3] - a[:, 1]
    bw, bh = b[:, 2] - b[:, 0], b[:, 3] - b[:, 1]
    w = np.minimum(aw + a[:, 0], bw + b[:, 0]) - np.maximum(a[:, 0], b[:, 0])
    h = np.minimum(ah + a[:, 1], bh + b[:, 1]) - np.maximum(a[:, 1], b[:, 1])
    inter = np.where((w > 0) & (h > 0), w * h, 0.0)
    union = aw * ah + bw * bh - inter
    return np.divide(inter, union, out=np.zeros_like(inter), where=union > 0)


def assign(flat: Flat, pairs: Pairs) -> Matches:
    """The greedy rule over the given pairs. Rounds: each image's first detection, then each one's second, and so on."""
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
    """COCO's matching at one IoU: within image and class."""
    return assign(flat, overlapping(flat, iou, same_class=True))
