"""How far annotators of one photograph agree, and what most of them drew.

The agreement of two annotators is the F1 of one's boxes against the other's, where boxes of one class match from an IoU
on: twice the matched boxes by all boxes of both. It is the same whoever is taken for the truth, and it is what Cohen's
kappa tends to where, as with boxes, nobody can count what both left out (Hripcsak & Rothschild, Agreement, the
F-measure, and reliability in information retrieval, JAMIA 12(3), 2005).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from carsdepo_assets.scoring.boxes import Truth, pairwise_iou

_EPSILON = 1e-10  # as pycocotools: a box that is the same twice matches at any IoU


@dataclass(frozen=True)
class Shared:
    """Boxes of two annotators, and how many of them match."""

    matched: int = 0
    """Pairs of matching boxes."""
    first: int = 0
    """Boxes of the first annotator."""
    second: int = 0
    """Boxes of the second annotator."""

    def __add__(self, other: Shared) -> Shared:
        return Shared(self.matched + other.matched, self.first + other.first, self.second + other.second)

    @property
    def f1(self) -> float | None:
        """2 matched / (first + second); None where neither drew a box."""
        boxes = self.first + self.second
        return 2 * self.matched / boxes if boxes else None


def matching_boxes(first: Truth, second: Truth, iou: float, *, same_class: bool = True) -> list[tuple[int, int]]:
    """Pairs of a box of each annotator, the largest overlaps first; each box is in one pair at most.

    Args:
        first: boxes of one annotator.
        second: boxes of another one, of the same photograph.
        iou: overlap of a pair at least.
        same_class: only pairs of the same class.

    Returns:
        Positions in `first` and in `second`. Exchanging the two exchanges the positions (but for equal overlaps).
    """
    if not len(first) or not len(second):
        return []
    overlaps = pairwise_iou(first.xyxy, second.xyxy)
    may_match = overlaps >= min(iou, 1 - _EPSILON)
    if same_class:
        may_match &= first.classes[:, None] == second.classes[None, :]
    rows, columns = np.nonzero(may_match)
    order = np.lexsort((columns, rows, -overlaps[rows, columns]))
    pairs: list[tuple[int, int]] = []
    free_rows, free_columns = set(range(len(first))), set(range(len(second)))
    for row, column in zip(rows[order].tolist(), columns[order].tolist(), strict=True):
        if row in free_rows and column in free_columns:
            pairs.append((row, column))
            free_rows.remove(row)
            free_columns.remove(column)
    return pairs


def shared_boxes(first: Truth, second: Truth, iou: float) -> Shared:
    """Counts the boxes of two annotators of one photograph and those that match in class and place."""
    return Shared(len(matching_boxes(first, second, iou)), len(first), len(second))


def shared_by_class(first: Truth, second: Truth, iou: float) -> dict[int, Shared]:
    """The same for each class that one of them drew, by class id."""
    matched = [int(first.classes[row]) for row, _ in matching_boxes(first, second, iou)]
    drawn = [first.classes.tolist(), second.classes.tolist()]
    return {
        class_id: Shared(matched.count(class_id), drawn[0].count(class_id), drawn[1].count(class_id))
        for class_id in sorted({*drawn[0], *drawn[1]})
    }


def photograph_agreement(labellings: Sequence[Truth], iou: float) -> float:
    """The agreement of all annotators of one photograph: F1 over all pairs of them, 0..1.

    Args:
        labellings: boxes, one entry an annotator; two at least.
        iou: overlap from which boxes match.

    Returns:
        1.0 too where nobody drew a box.
    """
    shared = Shared()
    for first, second in combinations(labellings, 2):
        shared += shared_boxes(first, second, iou)
    return 1.0 if shared.f1 is None else shared.f1


def majority_boxes(labellings: Sequence[Truth], iou: float) -> Truth | None:
    """The boxes that more than half of the annotators drew, each with the mean of its coordinates.

    Boxes of several annotators are one where each overlaps each other by `iou`, the largest overlaps being joined
    first. A photograph without such a box is clean only where more than half of the annotators drew none.

    Args:
        labellings: boxes, one entry an annotator.
        iou: overlap from which boxes match.

    Returns:
        The boxes in order of class and place; None where there is no majority for anything.
    """
    rater = np.repeat(np.arange(len(labellings)), [len(one) for one in labellings])
    boxes = np.concatenate([np.asarray(one.xyxy, float).reshape(-1, 4) for one in labellings])
    classes = np.concatenate([one.classes for one in labellings]).astype(np.int64)
    kept = [group for group in _joined(rater, boxes, classes, iou) if 2 * len(group) > len(labellings)]
    if not kept:
        clean = sum(not len(one) for one in labellings)
        return Truth(np.zeros((0, 4)), np.zeros(0, np.int64)) if 2 * clean > len(labellings) else None
    means = sorted((int(classes[group[0]]), *boxes[group].mean(axis=0).tolist()) for group in kept)
    return Truth(np.array([mean[1:] for mean in means]), np.array([mean[0] for mean in means], np.int64))


def _joined(
    rater: NDArray[np.int64], boxes: NDArray[np.float64], classes: NDArray[np.int64], iou: float
) -> list[list[int]]:
    """Positions of the boxes that are one, of different annotators each."""
    overlaps = pairwise_iou(boxes, boxes)
    may_join = (overlaps >= min(iou, 1 - _EPSILON)) & (classes[:, None] == classes) & (rater[:, None] != rater)
    rows, columns = np.nonzero(np.triu(may_join))
    order = np.lexsort((columns, rows, -overlaps[rows, columns]))
    groups = {position: [position] for position in range(len(boxes))}
    for row, column in zip(rows[order].tolist(), columns[order].tolist(), strict=True):
        one, other = groups[row], groups[column]
        if one is not other and may_join[np.ix_(one, other)].all():
            one += other
            groups |= dict.fromkeys(other, one)
    return list({id(group): group for group in groups.values()}.values())
