"""scoring/thresholds.py: counts at a threshold, and the threshold with the best F1."""

import numpy as np
import pytest

from carsdepo_assets.scoring.boxes import Detections
from carsdepo_assets.scoring.evaluation import evaluate
from carsdepo_assets.scoring.thresholds import best_threshold
from carsdepo_assets_tests.scoring.cases import detected, random_images, truth


@pytest.mark.parametrize("seed", range(5))
def test_no_other_threshold_has_a_larger_f1(seed: int) -> None:
    truths, detections = random_images(seed, 30)
    best = best_threshold(truths, detections, 2)
    scores = np.unique(np.concatenate([d.scores for d in detections]))
    at_best = evaluate(truths, detections, ["a", "b"], threshold=best).f1
    every = [evaluate(truths, detections, ["a", "b"], threshold=float(s)).f1 for s in scores]
    assert at_best == max(f for f in every if f is not None)


def test_it_lies_between_the_last_kept_and_the_first_dropped() -> None:
    truths = [truth((0, 0, 9, 9, 0), (20, 0, 29, 9, 1))]
    detections = [detected((0, 0, 9, 9, 0, 0.9), (20, 0, 29, 9, 1, 0.6), (50, 0, 59, 9, 1, 0.2))]
    assert best_threshold(truths, detections, 2) == pytest.approx(0.4)


def test_equal_scores_pass_together() -> None:
    # the true one comes first in the file, but 0.5 lets all four through
    truths = [truth((0, 0, 9, 9, 0), (20, 0, 29, 9, 0))]
    wrong = [(50.0 + 20 * k, 0, 59 + 20 * k, 9, 0, 0.5) for k in range(3)]
    same = detected((0, 0, 9, 9, 0, 0.8), (20, 0, 29, 9, 0, 0.5), *wrong)
    assert best_threshold(truths, [same], 1) == pytest.approx(0.65)


@pytest.mark.parametrize("detections", [detected(), detected((50, 50, 60, 60, 0, 0.7))], ids=["none", "none right"])
def test_without_anything_to_choose_from(detections: Detections) -> None:
    assert best_threshold([truth((0, 0, 9, 9, 0))], [detections], 1) is None
    taken = evaluate([truth((0, 0, 9, 9, 0))], [detections], ["a"])
    assert (taken.threshold, taken.threshold_source) == (0.5, "none is better: no detection matches a labelled box")


def test_chosen_on_val_applied_on_test() -> None:
    threshold = best_threshold(*random_images(1, 40), 2)
    given = evaluate(*random_images(2, 40), ["a", "b"], threshold=threshold)
    assert (given.threshold, given.threshold_source) == (threshold, "given")
    own = evaluate(*random_images(2, 40), ["a", "b"])
    assert own.threshold_source == "best F1 on these images"
    assert own.f1 is not None
    assert given.f1 is not None
    assert own.f1 >= given.f1
