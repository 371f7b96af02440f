"""The worst misses and false alarms, in the order in which a person should look at them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict

from carsdepo_assets.scoring.boxes import Detections, Truth
from carsdepo_assets.scoring.matching import Flat, Pairs, flatten, match, overlapping

Kind = Literal["background", "wrong_class", "duplicate", "loose_box"]


class _Box(BaseModel):
    model_config = ConfigDict(frozen=True)

    image: int  # index into the sequences that were scored
    row: int  # row of the box in that image's truth or detections
    class_id: int
    xyxy: tuple[float, float, float, float]


class Miss(_Box):
    """A truth that no detection found at the threshold. near_score: the best below it that would have, else 0."""

    near_score: float


class FalseAlarm(_Box):
    """A detection that found no truth. best_iou: its largest overlap with a truth of any class.

    kind: wrong_class (overlaps a truth of another class by the IoU asked), duplicate (of a truth already found),
    loose_box (overlaps one by a tenth or more, but too little), background.
    """

    score: float
    best_iou: float
    kind: Kind


class Mistakes(BaseModel):
    """The first `limit` of each; n_misses and n_false_alarms count them all."""

    model_config = ConfigDict(frozen=True)

    misses: list[Miss]
    false_alarms: list[FalseAlarm]
    n_misses: int
    n_false_alarms: int


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
    """Misses: the least suspected first, then the largest. False alarms: the most certain first."""
    flat = flatten(truths, detections, n_classes, max_detections)
    matches = match(flat, iou)
    kept = flat.det_score >= threshold
    found = (matches.det_truth >= 0) & kept
    taken = np.zeros(len(flat.truth_image), bool)
    taken[matches.det_truth[found]] = True
    pairs = overlapping(flat, 0.0, same_class=False)
    missed = np.flatnonzero(~taken)
    wrong = np.flatnonzero(kept & ~found)
    return Mistakes(
        misses=_misses(flat, pairs, missed, kept, iou, limit),
        false_alarms=_false_alarms(flat, pairs, wrong, taken, iou, limit),
        n_misses=len(missed),
        n_false_alarms=len(wrong),
    )


def _misses(flat: Flat, pairs: Pairs, missed: np.ndarray, kept: np.ndarray, iou: float, limit: int) -> list[Miss]:
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
    flat: Flat, pairs: Pairs, wrong: np.ndarray, taken: np.ndarray, iou: float, limit: int
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
