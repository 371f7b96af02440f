"""Two models on the same draws: the evaluator's own figures, and an interval that knows they share the images."""

from __future__ import annotations

import numpy as np
import pytest

from carsdepo_assets.scoring.boxes import Detections
from carsdepo_assets.scoring.evaluation import evaluate
from carsdepo_assets.scoring.matching import ScoringError
from carsdepo_assets.scoring.paired import paired_scores
from carsdepo_assets_tests.scoring.cases import found, random_images, truth


def _distinct(detections: list[Detections]) -> list[Detections]:
    """Scores without ties: an order among equals would depend on the images' order."""
    return [Detections(d.xyxy, np.random.default_rng(i).random(len(d)), d.classes) for i, d in enumerate(detections)]


def _pick(items: list, indices: list[int]) -> list:
    return [items[i] for i in indices]


def test_against_the_long_way_round() -> None:
    """The images of the drawn groups copied out and both models evaluated anew, on the same draws."""
    truths, first = random_images(3, 24)
    first = _distinct(first)
    second = [Detections(d.xyxy[::2], d.scores[::2], d.classes[::2]) for d in first]
    groups = np.array([i % 6 for i in range(24)])
    mask = np.arange(24) % 2 == 0
    fast = paired_scores(
        truths, first, second, 2, [str(g) for g in groups],
        thresholds=(0.3, 0.6), slices={"even": mask}, resamples=25, seed=5,
    )  # fmt: skip
    rng = np.random.default_rng(5)
    differences = []
    for _ in range(25):
        images = [int(i) for g in rng.integers(0, 6, 6) for i in np.flatnonzero(groups == g)]
        even = [i for i in images if mask[i]]
        row = []
        for subset, name in ((images, "map50"), (images, "a"), (images, "b"), (even, "map50")):
            figures = []
            for detections, threshold in ((first, 0.3), (second, 0.6)):
                result = evaluate(_pick(truths, subset), _pick(detections, subset), ["a", "b"], threshold=threshold)
                value = result.map50 if name == "map50" else result.per_class[name].counts.recall
                figures.append(np.nan if value is None else value)  # a draw without this class says nothing of it
            row.append(figures[1] - figures[0])
        differences.append(row)
    expected = np.nanquantile(np.array(differences), [0.025, 0.975], axis=0).T
    got = [fast.map50, *fast.recalls, fast.slices["even"]]
    np.testing.assert_allclose([[p.low, p.high] for p in got], expected, atol=1e-9)


def test_the_values_are_the_evaluators() -> None:
    truths, first = random_images(1, 40)
    _, second = random_images(1, 40, noise_up_to=3)
    got = paired_scores(truths, first, second, 2, [str(i // 4) for i in range(40)], thresholds=(0.4, 0.7), resamples=9)
    for which, detections, threshold in (("first", first, 0.4), ("second", second, 0.7)):
        result = evaluate(truths, detections, ["a", "b"], threshold=threshold)
        assert getattr(got.map50, which) == pytest.approx(result.map50, abs=1e-12)
        recalls = [result.per_class[c].counts.recall for c in ("a", "b")]
        assert [getattr(p, which) for p in got.recalls] == pytest.approx(recalls)
    assert got.map50.n_boxes == sum(p.n_boxes for p in got.recalls) == sum(len(t) for t in truths)


def test_the_same_model_twice_has_no_difference() -> None:
    truths, detections = random_images(4, 30)
    same = paired_scores(truths, detections, detections, 2, [str(i) for i in range(30)], thresholds=(0.5, 0.5))
    assert (same.map50.difference, same.map50.low, same.map50.high) == (0.0, 0.0, 0.0)


def test_what_both_find_hard_is_no_difference() -> None:
    """Paired, the interval of the difference is narrower than two independent ones would give."""
    rng = np.random.default_rng(0)
    truths = [truth((10, 10, 50, 50, 0)) for _ in range(120)]
    easy = rng.random(120) < 0.5
    hit, miss = found((10, 10, 50, 50, 0, 0.9)), found()
    first = [hit if e else miss for e in easy]
    second = [hit if e != (i % 12 == 0) else miss for i, e in enumerate(easy)]
    got = paired_scores(truths, first, second, 1, [str(i) for i in range(120)], thresholds=(0.5, 0.5)).recalls[0]
    assert got.low is not None
    assert got.high is not None
    unpaired = 2 * 1.96 * np.sqrt(2 * 0.25 / 120)
    assert 0.05 < got.high - got.low < 0.6 * unpaired


def test_too_little_for_an_interval() -> None:
    truths = [truth((0, 0, 9, 9, 0)), truth()]
    detections = [found((0, 0, 9, 9, 0, 0.9)), found()]
    got = paired_scores(truths, detections, detections, 2, ["a", "b"], thresholds=(0.5, 0.5))
    assert (got.map50.difference, got.map50.low, got.map50.n_groups) == (0.0, None, 1)
    assert got.recalls[1].first is got.recalls[1].difference is None


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ScoringError, match="1 images, but 2 group names"):
        paired_scores([truth()], [found()], [found()], 1, ["a", "b"], thresholds=(0.5, 0.5))
    with pytest.raises(ScoringError, match="slice night"):
        paired_scores(
            [truth()], [found()], [found()], 1, ["a"], thresholds=(0.5, 0.5), slices={"night": np.ones(2, bool)}
        )
