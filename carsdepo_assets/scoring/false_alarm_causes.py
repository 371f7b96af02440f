"""Counts false alarms by cause: what looks like damage and is none, as people have labelled it (hard negatives).

The rule: a false alarm has the cause of a hard negative of its photograph in which at least half of its own area lies.
Of several, the one that holds the largest share of it counts; of equal shares the cause that comes first in the
alphabet. The share of the detection is taken, as with crowd regions, and not the IoU, because a negative is often drawn
around a whole reflection, in which a detector marks one streak. A box with an IoU of 0.5 or more lies in the negative
by at least half, so that nothing which an IoU of 0.5 would find is lost.

A detection that overlaps a labelled damage of any class by the IoU of a match (the second box on it, or the wrong
class) is a false alarm about damage that is there: it has no cause among the negatives.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from carsdepo_assets.scoring.boxes import Detections, Truth
from carsdepo_assets.scoring.matching import Flat, Matches, ScoringError, flatten, overlapping

INSIDE = 0.5
"""Share of a false alarm's area that lies in a negative, from which on the negative's cause is its own."""


@dataclass(frozen=True)
class Negatives:
    """What looks like damage on one image and is none, as it was labelled. There may be none."""

    xyxy: NDArray[np.float64]
    """(N, 4), corners x1, y1, x2, y2 in the image's pixels, half-open"""
    causes: tuple[str, ...]
    """(N,), such as reflection"""


class CauseCount(BaseModel):
    """False alarms of one cause."""

    model_config = ConfigDict(frozen=True)

    cause: str | None
    """of the hard negatives in which they lie; None: they lie in none, so that no cause is named"""
    negatives: int
    """labelled hard negatives of the cause; 0 where none is named"""
    false_alarms: int
    """detections at the threshold that match no labelled box"""
    share: float | None
    """of all false alarms; None where there is none"""


def count_by_cause(
    flat: Flat, matches: Matches, negatives: Sequence[Negatives], *, threshold: float, iou: float
) -> list[CauseCount]:
    """Counts the false alarms of each cause.

    Args:
        flat: the boxes of all images, without detections that count neither way.
        matches: as `match` gives them for the same boxes and IoU.
        negatives: one entry an image.
        threshold: score at and above which a detection counts.
        iou: overlap from which two boxes match.

    Returns:
        An entry for each cause that is labelled, in order of the alphabet, and a last one for false alarms of which
        none is named; empty where there is no negative. Together they are all false alarms.

    Raises:
        ScoringError: the input does not fit together.
    """
    causes = sorted({cause for image in negatives for cause in image.causes})
    regions = _regions(flat, negatives, causes)
    if not causes:
        return []
    false = (flat.det_score >= threshold) & (matches.det_truth < 0)
    about_damage = overlapping(flat, iou, same_class=False).det
    named = false.copy()
    named[about_damage] = False
    pairs = overlapping(regions, INSIDE, same_class=False, of_detection=True)
    cause = regions.truth_class[pairs.truth]
    order = np.lexsort((cause, -pairs.iou, pairs.det))
    dets, first = np.unique(pairs.det[order], return_index=True)
    of_cause = cause[order][first][named[dets]]
    counts = np.bincount(of_cause, minlength=len(causes)).tolist()
    labelled = np.bincount(regions.truth_class, minlength=len(causes)).tolist()
    total = int(false.sum())
    entries = [*zip(causes, labelled, counts, strict=True), (None, 0, total - sum(counts))]
    return [
        CauseCount(cause=name, negatives=n, false_alarms=count, share=count / total if total else None)
        for name, n, count in entries
    ]


def _regions(flat: Flat, negatives: Sequence[Negatives], causes: Sequence[str]) -> Flat:
    """The detections, with the negatives in the place of labelled boxes: their class is the position of their cause."""
    if len(negatives) != flat.n_images:
        raise ScoringError(f"{flat.n_images} images, but {len(negatives)} with negatives: give one entry for each.")
    position = {cause: i for i, cause in enumerate(causes)}
    boxes = [Truth(n.xyxy, np.array([position[cause] for cause in n.causes], np.int64)) for n in negatives]
    checked = flatten(
        boxes, [Detections(np.zeros((0, 4)), np.zeros(0), np.zeros(0, np.int64))] * len(boxes), len(causes)
    )
    return replace(
        flat,
        truth_image=checked.truth_image,
        truth_class=checked.truth_class,
        truth_xyxy=checked.truth_xyxy,
        truth_row=checked.truth_row,
    )
