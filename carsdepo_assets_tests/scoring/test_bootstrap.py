"""scoring/bootstrap.py: the interval of mAP@.5 over groups."""

import numpy as np
import pytest

from carsdepo_assets.scoring.bootstrap import bootstrap_map50
from carsdepo_assets.scoring.boxes import Truth
from carsdepo_assets.scoring.evaluation import evaluate
from carsdepo_assets.scoring.matching import ScoringError
from carsdepo_assets_tests.scoring.cases import detected, random_images, truth


@pytest.mark.parametrize("seed", range(3))
def test_the_value_is_the_evaluators(seed: int) -> None:
    truths, detections = random_images(seed, 40)
    interval = bootstrap_map50(truths, detections, 2, [str(i // 4) for i in range(40)], resamples=200)
    assert interval.value == pytest.approx(evaluate(truths, detections, ["a", "b"], threshold=0.5).map50, abs=1e-12)
    assert interval.low is not None
    assert interval.high is not None
    assert interval.value is not None
    assert interval.low < interval.value < interval.high
    assert interval.n_groups == 10
    assert interval.resamples == 200


def test_reweighting_is_resampling() -> None:
    """Against the long way round: the images of the drawn groups copied out and evaluated anew."""
    truths, detections = random_images(9, 24)
    detections = [type(d)(d.xyxy, np.random.default_rng(i).random(len(d)), d.classes) for i, d in enumerate(detections)]
    groups = np.array([i % 6 for i in range(24)])
    fast = bootstrap_map50(truths, detections, 2, [str(g) for g in groups], resamples=40, seed=5)
    rng = np.random.default_rng(5)
    slow = []
    for _ in range(40):
        images = [i for g in rng.integers(0, 6, 6) for i in np.flatnonzero(groups == g)]
        copies = [truths[i] for i in images], [detections[i] for i in images]
        slow.append(evaluate(*copies, ["a", "b"], threshold=0.5).map50)
    assert [fast.low, fast.high] == pytest.approx(np.quantile(np.array(slow, float), [0.025, 0.975]).tolist(), abs=1e-9)


def test_dependent_photographs_widen_it() -> None:
    """Ten copies of each photograph are no more knowledge than one, if they are known to be one group."""
    truths, detections = random_images(2, 20)
    copies = [i for i in range(20) for _ in range(10)]
    args = ([truths[i] for i in copies], [detections[i] for i in copies], 2)
    by_group = bootstrap_map50(*args, [str(i) for i in copies], resamples=200)
    alone = bootstrap_map50(*args, [str(n) for n in range(200)], resamples=200)
    assert by_group.low is not None
    assert by_group.high is not None
    assert alone.low is not None
    assert alone.high is not None
    assert by_group.high - by_group.low > 2 * (alone.high - alone.low)


@pytest.mark.parametrize(
    ("truths", "groups", "value"),
    [([], [], None), ([truth()], ["a"], None), ([truth((0, 0, 9, 9, 0))], ["a"], 0.0)],
    ids=["no images", "no truth", "one group"],
)
def test_too_little_for_an_interval(truths: list[Truth], groups: list[str], value: float | None) -> None:
    interval = bootstrap_map50(truths, [detected() for _ in truths], 1, groups)
    assert (interval.value, interval.low, interval.high) == (value, None, None)


def test_groups_must_fit() -> None:
    with pytest.raises(ScoringError, match="1 images, but 2 group names"):
        bootstrap_map50([truth()], [detected()], 1, ["a", "b"])
