"""scoring/paired.py: two models on the same draws agree with the evaluator, and their interval is that of pairs."""

from __future__ import annotations

import numpy as np
import pytest

from carsdepo_assets.scoring.boxes import Detections
from carsdepo_assets.scoring.evaluation import evaluate
from carsdepo_assets.scoring.matching import ScoringError, flatten, match
from carsdepo_assets.scoring.paired import Footing, paired_scores
from carsdepo_assets.scoring.thresholds import counts
from carsdepo_assets_tests.scoring.cases import detected, random_images, truth


def _distinct(detections: list[Detections]) -> list[Detections]:
    """Scores without ties: an order among equals would depend on the images' order."""
    return [Detections(d.xyxy, np.random.default_rng(i).random(len(d)), d.classes) for i, d in enumerate(detections)]


def _pick(items: list, indices: list[int]) -> list:
    return [items[i] for i in indices]


def _at_footing(truths: list, detections: list, false_alarms: float) -> list[float]:
    """Recall, then precision by class and of both, the slow way: every score as a threshold, a line between two."""
    flat = flatten(truths, detections, 2)
    matches = match(flat, 0.5)
    points = []
    for threshold in [2.0, *sorted({float(s) for s in flat.det_score}, reverse=True)]:
        at = [counts(flat, matches, threshold, c) for c in (0, 1)]
        points.append(np.array([*(c.tp for c in at), *(c.fp for c in at)], float))
    budget = false_alarms * len(truths) + 1e-9
    last = max(i for i, p in enumerate(points) if p[2:].sum() <= budget)
    point = points[last]
    if last + 1 < len(points):
        step = points[last + 1] - point
        point = point + step * (budget - 1e-9 - point[2:].sum()) / step[2:].sum()
    there = np.array([(flat.truth_class == c).sum() for c in (0, 1)], float)
    tp, fp = np.r_[point[:2], point[:2].sum()], np.r_[point[2:], point[2:].sum()]
    there = np.r_[there, there.sum()]
    with np.errstate(invalid="ignore"):
        return [*(tp / there), *(tp / (tp + fp))]


def test_against_the_long_way_round() -> None:
    """The images of the drawn groups copied out and both models evaluated anew, on the same draws."""
    truths, first = random_images(3, 24)
    first = _distinct(first)
    second = [Detections(d.xyxy[::2], d.scores[::2], d.classes[::2]) for d in first]
    groups = np.array([i % 6 for i in range(24)])
    mask = np.arange(24) % 2 == 0
    fast = paired_scores(
        truths, first, second, 2, [str(g) for g in groups],
        thresholds=(0.7, 0.6), slices={"even": mask}, resamples=25, seed=5,
    )  # fmt: skip
    rng = np.random.default_rng(5)
    differences = []
    for _ in range(25):
        images = [int(i) for g in rng.integers(0, 6, 6) for i in np.flatnonzero(groups == g)]
        even = [i for i in images if mask[i]]
        figures = []
        for detections in (first, second):
            maps = [evaluate(_pick(truths, s), _pick(detections, s), ["a", "b"]).map50 for s in (images, even)]
            footing = _at_footing(_pick(truths, images), _pick(detections, images), fast.footing.false_alarms)
            figures.append(np.array([*(np.nan if m is None else m for m in maps), *footing]))
        differences.append(figures[1] - figures[0])
    expected = np.nanquantile(np.array(differences), [0.025, 0.975], axis=0).T
    got = [fast.map50, fast.slices["even"], *fast.recalls, fast.recall, *fast.precisions, fast.precision]
    np.testing.assert_allclose([[p.low, p.high] for p in got], expected, atol=1e-9)


def test_the_values_are_the_evaluators() -> None:
    truths, first = random_images(1, 40)
    _, second = random_images(1, 40, noise_up_to=3)
    got = paired_scores(truths, first, second, 2, [str(i // 4) for i in range(40)], thresholds=(0.4, 0.7), resamples=9)
    for which, detections in (("first", first), ("second", second)):
        result = evaluate(truths, detections, ["a", "b"], threshold=0.5)
        assert getattr(got.map50, which) == pytest.approx(result.map50, abs=1e-12)
        slow = _at_footing(truths, detections, got.footing.false_alarms)
        footing = [getattr(p, which) for p in (*got.recalls, got.recall, *got.precisions, got.precision)]
        assert footing == pytest.approx(slow)
    assert got.map50.n_boxes == sum(p.n_boxes for p in got.recalls) == sum(len(t) for t in truths)


def test_the_footing_is_the_smaller_of_both_and_the_least_one() -> None:
    """Ten photographs: the first model gives 4 false alarms at its threshold and 8 in all, the second 6."""
    truths = [truth((10, 10, 50, 50, 0)) for _ in range(10)]
    hit, wrong = (10, 10, 50, 50, 0), (200, 200, 240, 240, 0)
    first = [detected((*hit, 0.9), *([(*wrong, 0.8 if i < 4 else 0.2)] if i < 8 else [])) for i in range(10)]
    second = [detected((*hit, 0.3), *([(*wrong, 0.2)] if i < 6 else [])) for i in range(10)]
    groups = [str(i) for i in range(10)]

    def footing(thresholds: tuple[float, float], least: float = 0.125) -> Footing:
        return paired_scores(
            truths, first, second, 1, groups, thresholds=thresholds, least_false_alarms=least, resamples=5
        ).footing

    both = footing((0.5, 0.1))
    assert (both.false_alarms, both.first.deployed_false_alarms, both.second.deployed_false_alarms) == (0.4, 0.4, 0.6)
    assert (both.first.threshold, both.first.false_alarms) == (0.8, 0.4)
    assert (both.second.threshold, both.second.false_alarms) == (0.3, pytest.approx(0.4))
    assert footing((0.1, 0.1)).false_alarms == 0.6
    assert footing((0.95, 0.1)).false_alarms == 0.125  # the first gives none at its own
    more_than_there_is = footing((0.5, 0.1), least=0.7)
    assert more_than_there_is.second.false_alarms == 0.6
    assert more_than_there_is.first.false_alarms == pytest.approx(0.7)


def test_a_threshold_of_ones_own_changes_no_recall_at_the_footing() -> None:
    """Scores of a third, and a threshold that nobody chose well: the very same boxes, so no difference."""
    truths, first = random_images(8, 60)
    second = [Detections(d.xyxy, d.scores / 3, d.classes) for d in first]
    got = paired_scores(truths, first, second, 2, [str(i // 3) for i in range(60)], thresholds=(0.6, 0.1), resamples=40)
    for p in (*got.recalls, *got.precisions, got.recall, got.precision):
        assert (p.difference, p.low, p.high) == pytest.approx((0, 0, 0), abs=1e-12)


def test_a_precision_rests_on_the_groups_where_the_model_with_fewer_draws_a_box() -> None:
    truths = [truth((10, 10, 50, 50, 0)) for _ in range(12)]
    hit, few = detected((10, 10, 50, 50, 0, 0.9)), [0, 1, 2]
    first = [hit if i in few else detected() for i in range(12)]
    got = paired_scores(truths, first, [hit] * 12, 1, [str(i) for i in range(12)], thresholds=(0.5, 0.5), resamples=20)
    assert (got.recalls[0].n_groups, got.precisions[0].n_groups) == (12, 3)


def test_the_same_model_twice_has_no_difference() -> None:
    truths, detections = random_images(4, 30)
    same = paired_scores(truths, detections, detections, 2, [str(i) for i in range(30)], thresholds=(0.5, 0.5))
    assert (same.map50.difference, same.map50.low, same.map50.high) == (0.0, 0.0, 0.0)


def test_what_both_find_hard_is_no_difference() -> None:
    """Paired, the interval of the difference is narrower than two independent ones would give."""
    rng = np.random.default_rng(0)
    truths = [truth((10, 10, 50, 50, 0)) for _ in range(120)]
    easy = rng.random(120) < 0.5
    hit, miss = detected((10, 10, 50, 50, 0, 0.9)), detected()
    first = [hit if e else miss for e in easy]
    second = [hit if e != (i % 12 == 0) else miss for i, e in enumerate(easy)]
    got = paired_scores(truths, first, second, 1, [str(i) for i in range(120)], thresholds=(0.5, 0.5)).recalls[0]
    assert got.low is not None
    assert got.high is not None
    unpaired = 2 * 1.96 * np.sqrt(2 * 0.25 / 120)
    assert 0.05 < got.high - got.low < 0.6 * unpaired


def test_too_little_for_an_interval() -> None:
    truths = [truth((0, 0, 9, 9, 0)), truth()]
    detections = [detected((0, 0, 9, 9, 0, 0.9)), detected()]
    got = paired_scores(truths, detections, detections, 2, ["a", "b"], thresholds=(0.5, 0.5))
    assert (got.map50.difference, got.map50.low, got.map50.n_groups) == (0.0, None, 1)
    assert got.recalls[1].first is got.recalls[1].difference is None


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ScoringError, match="1 images, but 2 group names"):
        paired_scores([truth()], [detected()], [detected()], 1, ["a", "b"], thresholds=(0.5, 0.5))
    with pytest.raises(ScoringError, match="slice night"):
        paired_scores(
            [truth()], [detected()], [detected()], 1, ["a"], thresholds=(0.5, 0.5), slices={"night": np.ones(2, bool)}
        )
