"""scoring/free_response.py: operating points by hand, at equal scores, at the ends, under any rescaling."""

from __future__ import annotations

import numpy as np
import pytest

from carsdepo_assets.scoring.boxes import Detections, Truth
from carsdepo_assets.scoring.free_response import FreeResponse
from carsdepo_assets.scoring.matching import flatten, match
from carsdepo_assets_tests.scoring.cases import detected, random_images, truth

BOX, OTHER = (10, 10, 50, 50), (200, 200, 240, 240)  # what is there, and where nothing is


def curve_of(truths: list[Truth], detections: list[Detections], n_classes: int = 2) -> FreeResponse:
    flat = flatten(truths, detections, n_classes)
    return FreeResponse(flat, match(flat, 0.5).det_truth >= 0)


@pytest.fixture
def by_hand() -> FreeResponse:
    """Four photographs with a box of class 0 each and of class 1 on the first two.

    By score: hit 0 (.9), wrong 0 (.8), hit 1 (.7), hit 0 (.6), wrong 1 and hit 0 (both .5), wrong 0 (.3).
    """
    truths = [truth((*BOX, 0), (100, 10, 140, 50, 1)) for _ in range(2)] + [truth((*BOX, 0)) for _ in range(2)]
    detections = [
        detected((*BOX, 0, 0.9), (*OTHER, 0, 0.8)),
        detected((100, 10, 140, 50, 1, 0.7), (*BOX, 0, 0.6)),
        detected((*OTHER, 1, 0.5), (*BOX, 0, 0.5)),
        detected((*OTHER, 0, 0.3)),
    ]
    return curve_of(truths, detections)


@pytest.mark.parametrize(
    ("false_alarms", "threshold", "recalls", "precisions"),
    [
        (0.0, 0.9, [1 / 4, 0, 1 / 6], [1, np.nan, 1]),
        # One of four photographs: on past the false alarm at .8 to the last score before the next.
        (0.25, 0.6, [2 / 4, 1 / 2, 3 / 6], [2 / 3, 1, 3 / 4]),
        # Half-way to the two of score .5, which pass together: half of each.
        (0.375, 0.6, [2.5 / 4, 1 / 2, 3.5 / 6], [2.5 / 3.5, 1 / 1.5, 3.5 / 5]),
        (0.5, 0.5, [3 / 4, 1 / 2, 4 / 6], [3 / 4, 1 / 2, 4 / 6]),
        (0.75, 0.3, [3 / 4, 1 / 2, 4 / 6], [3 / 5, 1 / 2, 4 / 7]),
    ],
)
def test_points_by_hand(
    by_hand: FreeResponse, false_alarms: float, threshold: float, recalls: list[float], precisions: list[float]
) -> None:
    point = by_hand.at(false_alarms)
    assert point.threshold == threshold
    assert point.false_alarms == pytest.approx(false_alarms)
    np.testing.assert_allclose(point.recalls(), recalls)
    np.testing.assert_allclose(point.precisions(), precisions)


def test_a_model_without_so_many_false_alarms_counts_with_all_that_it_has(by_hand: FreeResponse) -> None:
    point = by_hand.at(5.0)
    assert (point.threshold, point.false_alarms) == (0.3, 0.75)
    np.testing.assert_allclose(point.recalls(), by_hand.at(0.75).recalls())


def test_the_surest_box_is_wrong_and_none_may_be() -> None:
    point = curve_of([truth((*BOX, 0))], [detected((*OTHER, 0, 0.9), (*BOX, 0, 0.8))]).at(0.0)
    assert (point.threshold, point.false_alarms) == (None, 0.0)
    np.testing.assert_allclose(point.recalls(), [0, np.nan, 0])
    np.testing.assert_allclose(point.precisions(), [np.nan, np.nan, np.nan])


@pytest.mark.parametrize("detections", [[detected()], [detected((*BOX, 0, 0.4))]], ids=["none", "no false alarm"])
def test_no_false_alarm_at_all(detections: list[Detections]) -> None:
    point = curve_of([truth((*BOX, 0))], detections).at(0.125)
    assert point.false_alarms == 0.0
    np.testing.assert_allclose(point.recalls()[0], len(detections[0]))


def test_one_score_for_everything() -> None:
    """A model that is equally sure of all: each box counts with the probability that gives the false alarms."""
    truths = [truth((*BOX, 0)) for _ in range(8)]
    detections = [detected((*(BOX if i < 6 else OTHER), 0, 0.5)) for i in range(8)]
    point = curve_of(truths, detections).at(0.125)
    assert (point.threshold, point.false_alarms) == (None, 0.125)
    np.testing.assert_allclose(point.recalls()[0], 3 / 8)


def test_what_a_threshold_gives(by_hand: FreeResponse) -> None:
    assert [by_hand.false_alarms_at(t) for t in (1.0, 0.8, 0.5, 0.0)] == [0.0, 0.25, 0.5, 0.75]


def test_scores_on_another_scale_are_the_same_model() -> None:
    truths, detections = random_images(2, 40)
    low = [Detections(d.xyxy, d.scores**3 * 0.3, d.classes) for d in detections]
    one, other = curve_of(truths, detections), curve_of(truths, low)
    for false_alarms in (0.0, 0.1, 0.5, 1.3, 20.0):
        a, b = one.at(false_alarms), other.at(false_alarms)
        np.testing.assert_allclose(a.recalls(), b.recalls())
        np.testing.assert_allclose(a.precisions(), b.precisions())


def test_weights_are_images_counted_so_often() -> None:
    truths, detections = random_images(5, 30)
    weights = np.random.default_rng(0).integers(0, 4, 30)
    many = [i for i, w in enumerate(weights) for _ in range(w)]
    copied = curve_of([truths[i] for i in many], [detections[i] for i in many])
    for false_alarms in (0.0, 0.2, 0.75, 2.0):
        a, b = curve_of(truths, detections).at(false_alarms, weights.astype(float)), copied.at(false_alarms)
        assert (a.threshold, a.false_alarms) == pytest.approx((b.threshold, b.false_alarms))
        np.testing.assert_allclose(a.recalls(), b.recalls())
        np.testing.assert_allclose(a.precisions(), b.precisions())


def test_the_curve_rises_from_nothing_to_everything() -> None:
    truths, detections = random_images(6, 200)
    model = curve_of(truths, detections)
    false_alarms, recall = model.curve(80)
    assert len(false_alarms) == len(recall) <= 80
    assert (false_alarms[0], recall[0]) == (0.0, 0.0)
    assert sorted(false_alarms) == false_alarms
    assert sorted(recall) == recall
    assert (false_alarms[-1], recall[-1]) == pytest.approx(
        (model.false_alarms_at(0.0), model.at(99.0).recalls()[-1]), abs=1e-5
    )
    assert curve_of([], []).curve(80) == ([], [])
