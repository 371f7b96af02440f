"""scoring/agreement.py: F1 between annotators by hand-counted cases, and the boxes that most of them drew."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carsdepo_assets.scoring.agreement import (
    Shared,
    majority_boxes,
    matching_boxes,
    photograph_agreement,
    shared_boxes,
    shared_by_class,
)
from carsdepo_assets.scoring.boxes import Truth

Box = tuple[int, float, float, float, float]
A: Box = (0, 0, 0, 10, 10)
A_MOVED: Box = (0, 2, 0, 12, 10)  # IoU with A: 80 / 120
A_FAR: Box = (0, 4, 0, 14, 10)  # IoU with A: 60 / 140; with A_MOVED: 80 / 120
A_AS_DENT: Box = (1, 0, 0, 10, 10)
B: Box = (1, 50, 50, 70, 60)


def truth(*boxes: Box) -> Truth:
    rows = np.array(boxes, float).reshape(-1, 5)
    return Truth(rows[:, 1:], rows[:, 0].astype(np.int64))


@pytest.mark.parametrize(
    ("first", "second", "matched", "f1"),
    [
        ([A, B], [A, B], 2, 1.0),
        ([A, B], [A], 1, 2 / 3),
        ([A], [A_MOVED], 1, 1.0),
        ([A], [A_FAR], 0, 0.0),
        ([A], [A_AS_DENT], 0, 0.0),
        ([A], [], 0, 0.0),
        ([], [], 0, None),
        ([A], [A_MOVED, A], 1, 2 / 3),  # each box matches once
        ([A, A_FAR], [A_MOVED], 1, 2 / 3),
    ],
)
def test_f1_of_two_annotators(first: list[Box], second: list[Box], matched: int, f1: float | None) -> None:
    for one, other in ((truth(*first), truth(*second)), (truth(*second), truth(*first))):
        shared = shared_boxes(one, other, 0.5)
        assert (shared.matched, shared.f1) == (matched, pytest.approx(f1) if f1 is not None else None)


def test_the_largest_overlap_is_matched_first() -> None:
    assert matching_boxes(truth(A_MOVED), truth(A, A_MOVED), 0.5) == [(0, 1)]
    assert matching_boxes(truth(A), truth(A_AS_DENT), 0.5, same_class=False) == [(0, 0)]


def test_by_class() -> None:
    by_class = shared_by_class(truth(A, B), truth(A_AS_DENT, B), 0.5)
    assert by_class == {0: Shared(0, 1, 0), 1: Shared(1, 1, 2)}


def test_of_all_annotators_together() -> None:
    assert photograph_agreement([truth(), truth(), truth()], 0.5) == 1.0
    assert photograph_agreement([truth(A), truth(A), truth()], 0.5) == pytest.approx(2 / 4)  # 1 pair of 1+1, 2 of 1+0


@pytest.mark.parametrize(
    ("labellings", "wanted"),
    [
        ([[A, B], [A_MOVED], [B]], [(0, 1, 0, 11, 10), B]),  # means of what two of three drew
        ([[A], [A_MOVED]], [(0, 1, 0, 11, 10)]),
        ([[A, B], [A]], [A]),  # half is not more than half
        ([[A], [B], [A_AS_DENT]], None),  # all say damage, none what another says: not clean
        ([[A], []], None),
        ([[], [], [A]], []),  # most found none
        ([[], []], []),
        ([[A], [A_MOVED], [A_FAR]], [(0, 1, 0, 11, 10)]),  # A and A_FAR are two damages, A_MOVED goes with the first
        ([[A, A], [A]], [A]),  # two boxes of one annotator are not two voices
    ],
)
def test_what_most_drew(labellings: list[list[Box]], wanted: list[Box] | None) -> None:
    counted = majority_boxes([truth(*one) for one in labellings], 0.5)
    if wanted is None:
        assert counted is None
    else:
        assert counted is not None
        assert [(c, *xyxy) for c, xyxy in zip(counted.classes.tolist(), counted.xyxy.tolist(), strict=True)] == wanted


_boxes = st.lists(
    st.tuples(st.integers(0, 1), st.integers(0, 12), st.integers(0, 12), st.integers(1, 9), st.integers(1, 9)).map(
        lambda b: (b[0], float(b[1]), float(b[2]), float(b[1] + b[3]), float(b[2] + b[4]))
    ),
    max_size=4,
)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.lists(_boxes, min_size=3, max_size=3))
def test_rules_that_hold_for_any_boxes(labellings: list[list[Box]]) -> None:
    truths = [truth(*one) for one in labellings]
    agreements = {round(photograph_agreement(list(order), 0.5), 9) for order in permutations(truths)}
    assert all(0 <= agreement <= 1 for agreement in agreements)
    assert photograph_agreement([truths[0], truths[0]], 0.5) == 1.0
    same = majority_boxes([truths[0]] * 3, 0.5)
    assert same is not None
    kept = [(int(c), *box) for c, box in zip(same.classes, same.xyxy.tolist(), strict=True)]
    assert kept == sorted(labellings[0])
