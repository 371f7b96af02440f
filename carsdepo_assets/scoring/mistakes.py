"""Ranks a detector's misses and false alarms in the order in which a person should look at them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from carsdepo_assets.scoring.boxes import Detections, Truth
from carsdepo_assets.scoring.matching import Flat, Pairs, flatten, match, overlapping

Kind = Literal["background", "wrong_class", "duplicate", "loose_box"]


class _Box(BaseModel):
    model_config = ConfigDict(frozen=True)

    image: int
    """position of the image in the sequences that were scored"""
    row: int
    """position of the box among that image's labelled boxes or detections"""
    class_id: int
    """class of the box"""
    xyxy: tuple[float, float, float, float]
    """corners in the image's pixels"""


class Miss(_Box):
    """A labelled box that no detection matches at the threshold."""

    near_score: float
    """the highest score below the threshold of a detection that would match it; 0 where there is none"""


class FalseAlarm(_Box):
    """A detection at the threshold that matches no labelled box."""

    score: float
    """of the detection"""
    best_iou: float
    """its largest overlap with a labelled box of any class"""
    kind: Kind
    """wrong_class: it would match a labelled box of another class; duplicate: it overlaps a labelled box that another
    detection matches; loose_box: it overlaps a labelled box by an IoU of 0.1 or more, but too little; background: none
    of these"""


class Mistakes(BaseModel):
    """The mistakes that come first, and how many there are."""

    model_config = ConfigDict(frozen=True)

    misses: list[Miss]
    """the first `limit` of them"""
    false_alarms: list[FalseAlarm]
    """the first `limit` of them"""
    n_misses: int
    """all misses"""
    n_false_alarms: int
    """all false alarms"""


def ranked_mistakes(
    truths: Sequence[Truth],
    detections: Sequence[Detections],
    n_classes: int,
    *,
    threshold: float,
    iou: float = 0.5,
    max_detections: int = 100,
    limit: int = 20,
) -> Mistakes:
    """Ranks misses (those with the lowest near_score first, then the largest) and false alarms (highest score first).

    Args:
        truths: labelled boxes, one entry an image.
        detections: detections, one entry an image.
        n_classes: number of classes.
        threshold: score at and above which a detection counts.
        iou: overlap from which a detection matches a labelled box.
        max_detections: detections of an image and class that count, the best ones.
        limit: how many of each kind are listed.

    Raises:
        ScoringError: the input does not fit together.
    """
    flat = flatten(truths, detections, n_classes, max_detections)
    matches = match(flat, iou)
    kept = flat.det_score >= threshold
    matched = (matches.det_truth >= 0) & kept
    taken = np.zeros(len(flat.truth_image), bool)
    taken[matches.det_truth[matched]] = True
    pairs = overlapping(flat, 0.0, same_class=False)
    missed = np.flatnonzero(~taken)
    wrong = np.flatnonzero(kept & ~matched)
    return Mistakes(
        misses=_misses(flat, pairs, missed, kept, iou, limit),
        false_alarms=_false_alarms(flat, pairs, wrong, taken, iou, limit),
        n_misses=len(missed),
        n_false_alarms=len(wrong),
    )


def _misses(
    flat: Flat, pairs: Pairs, missed: NDArray[np.int64], kept: NDArray[np.bool_], iou: float, limit: int
) -> list[Miss]:
    near = np.zeros(len(flat.truth_image))
    hint = (pairs.iou >= iou) & ~kept[pairs.det] & (flat.det_class[pairs.det] == flat.truth_class[pairs.truth])
    np.maximum.at(near, pairs.truth[hint], flat.det_score[pairs.det[hint]])
    size = flat.truth_xyxy[:, 2:] - flat.truth_xyxy[:, :2]
    order = missed[np.lexsort((missed, -size.prod(axis=1)[missed], near[missed]))][:limit]
    return [
        Miss(
            image=int(flat.truth_image[i]),
            row=int(flat.truth_row[i]),
            class_id=int(flat.truth_class[i]),
            xyxy=tuple(flat.truth_xyxy[i].tolist()),
            near_score=float(near[i]),
        )
        for i in order
    ]


def _false_alarms(
    flat: Flat, pairs: Pairs, wrong: NDArray[np.int64], taken: NDArray[np.bool_], iou: float, limit: int
) -> list[FalseAlarm]:
    order = wrong[np.lexsort((wrong, -flat.det_score[wrong]))][:limit]
    alarms = []
    for i in order:
        mine = slice(*np.searchsorted(pairs.det, [i, i + 1]))  # pairs are sorted by detection
        truths, overlaps = pairs.truth[mine], pairs.iou[mine]
        own = flat.truth_class[truths] == flat.det_class[i]
        best = float(overlaps.max()) if len(overlaps) else 0.0
        kind: Kind = "background"
        if (own & (overlaps >= iou) & taken[truths]).any():
            kind = "duplicate"
        elif (~own & (overlaps >= iou)).any():
            kind = "wrong_class"
        elif best >= 0.1:
            kind = "loose_box"
        alarms.append(
            FalseAlarm(
                image=int(flat.det_image[i]),
                row=int(flat.det_row[i]),
                class_id=int(flat.det_class[i]),
                xyxy=tuple(flat.det_xyxy[i].tolist()),
                score=float(flat.det_score[i]),
                best_iou=best,
                kind=kind,
            )
        )
    return alarms
