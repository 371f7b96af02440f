"""release/gate.py and gate_checks.py: models with thresholds of their own, compared at equal false alarms."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from carsdepo_assets.evaluation.predict import Scored
from carsdepo_assets.policy import GatePolicy, Policy
from carsdepo_assets.release.gate import Verdict, gate_verdict
from carsdepo_assets.release.gate_checks import Check
from carsdepo_assets.scoring.boxes import Detections
from carsdepo_assets.scoring.evaluation import evaluate
from carsdepo_assets_tests.release.scored import golden, scored, with_threshold

NAMES = ("scratch", "dent")
PLACE = golden(400, 120, seed=6)
OLD, NEW = 0.051, 0.206  # the thresholds of the two models that the issue tells of


def decide(
    champion: Scored, challenger: Scored, thresholds: tuple[float, float], classes: Any = None, **gate: Any
) -> Verdict:
    return gate_verdict(
        champion,
        challenger,
        NAMES,
        thresholds,
        Policy(gate=GatePolicy(**({"resamples": 200} | gate))),
        latency_p95_ms=100.0,
        parity=1.0,
        slices={},
        champion_classes=classes,
    )


def row(verdict: Verdict, name: str) -> Check:
    [only] = [c for c in verdict.checks if c.name == name]
    return only


@pytest.fixture(scope="module")
def bad() -> Scored:
    """mAP@.5 0.04, precision 3 % and recall 31 % at its threshold: it cries out everywhere."""
    return with_threshold(
        *PLACE, OLD, seed=4, recalls=(0.42, 0.18), false_alarms=9.2, surer=(3.4, 4.0), below=0.5
    )  # fmt: skip


@pytest.fixture(scope="module")
def better() -> Scored:
    """mAP@.5 0.12, precision 20 % and the same recall at its threshold, of scratches less and of dents more."""
    return with_threshold(
        *PLACE, NEW, seed=5, recalls=(0.24, 0.36), false_alarms=1.13, surer=(2.0, 2.8), below=0.1
    )  # fmt: skip


def test_the_two_models_are_those_of_the_issue(bad: Scored, better: Scored) -> None:
    old, new = (evaluate(s.truths, s.detections, NAMES, threshold=t) for s, t in ((bad, OLD), (better, NEW)))
    assert (old.map50, new.map50) == pytest.approx((0.038, 0.122), abs=0.01)
    assert (old.precision, new.precision) == pytest.approx((0.029, 0.209), abs=0.015)
    assert old.recall == pytest.approx(new.recall, abs=0.02)
    recalls = [e.per_class["scratch"].counts.recall for e in (old, new)]
    assert recalls[0] is not None
    assert recalls[1] is not None
    assert recalls[1] < recalls[0] - 0.1  # what it was refused for


@pytest.mark.parametrize("mode", ["interval", "point"])
@pytest.mark.parametrize("floor", [0.02, 0.05], ids=["champion above the floors", "champion under the floors"])
def test_a_bad_champion_holds_off_no_better_model(bad: Scored, better: Scored, mode: str, floor: float) -> None:
    verdict = decide(bad, better, (OLD, NEW), mode=mode, floor_map50=floor)
    assert verdict.verdict == "promote"
    assert row(verdict, "mAP@.5").challenger == pytest.approx(0.122, abs=0.01)
    # The champion's threshold gives 9 false alarms a photograph, the challenger's 1.1: both are looked at there.
    assert verdict.footing is not None
    assert verdict.footing.false_alarms == pytest.approx(1.1, abs=0.15)
    assert verdict.footing.first.deployed_false_alarms == pytest.approx(9.2, abs=0.5)
    assert verdict.footing.first.false_alarms == pytest.approx(verdict.footing.second.false_alarms)
    difference = row(verdict, "recall of scratch").difference
    assert difference is not None
    assert difference > 0
    figure = verdict.figures["champion_map50"]
    opening = (
        f"The champion is under the floors itself and has no veto (mAP@.5 {figure:.3f} is under the floor of 0.050)."
    )
    assert (verdict.reasons[0] == opening) == (floor == 0.05)


def test_nor_does_the_better_one_give_way_to_it(bad: Scored, better: Scored) -> None:
    assert decide(better, bad, (NEW, OLD), floor_map50=0.02).verdict == "reject"


@pytest.mark.parametrize("mode", ["interval", "point"])
def test_a_champion_under_the_floors_shows_its_figures_and_decides_nothing(mode: str) -> None:
    """It finds no dent, and is better than the challenger at scratches."""
    champion = scored(*PLACE, 0.9, seed=1, misses={1: -1.0})
    challenger = scored(*PLACE, 0.4, seed=2)
    verdict = decide(champion, challenger, (0.4, 0.4), mode=mode)
    assert verdict.verdict == "promote"
    assert verdict.needed is None
    assert "recall of dent 0.000 is under the floor of 0.020" in verdict.reasons[0]
    lost = row(verdict, "recall of scratch")
    assert lost.high is not None
    assert lost.high < -0.03
    assert (lost.passed, lost.vetoes) == (True, False)
    assert "the champion has no veto" in lost.says
    assert all(c.vetoes == (c.kind in ("floor", "limit")) for c in verdict.checks)
    # The floors hold for the challenger as ever.
    refused = decide(champion, challenger, (0.4, 0.4), mode=mode, floor_map50=0.6)
    assert refused.verdict == "reject"
    assert "under the floor of 0.600" in refused.reasons[0]


def test_a_class_that_the_champion_was_never_taught_is_no_fault_of_it() -> None:
    champion = scored(*PLACE, 0.9, seed=1, misses={1: -1.0})
    challenger = scored(*PLACE, 0.25, seed=2)
    assert decide(champion, challenger, (0.4, 0.4)).verdict == "promote"
    verdict = decide(champion, challenger, (0.4, 0.4), classes=("scratch",))
    assert verdict.verdict == "reject"
    assert "mAP@.5" in verdict.reasons[0]


def test_a_threshold_alone_is_no_difference() -> None:
    """The same boxes behind a threshold that hides half of them, and on another scale of scores."""
    champion = scored(*PLACE, 0.7, seed=1)
    assert decide(champion, champion, (0.4, 0.8)).verdict == "promote"
    other = replace(champion, detections=[Detections(d.xyxy, d.scores**2 / 3, d.classes) for d in champion.detections])
    verdict = decide(champion, other, (0.4, 0.4**2 / 3))
    assert verdict.verdict == "promote"
    for check in verdict.checks:
        if check.kind == "class":
            assert (check.difference, check.low, check.high) == pytest.approx((0, 0, 0), abs=1e-12)


def _false_alarms_of(kind: int, scored_: Scored, share: float, seed: int) -> Scored:
    """The same boxes found; the share of the false alarms goes over to one class."""
    rng = np.random.default_rng(seed)
    moved = []
    for truth, d in zip(scored_.truths, scored_.detections, strict=True):
        false = ~(d.xyxy == truth.xyxy).all(axis=1)
        over = false & (rng.random(len(d)) < share)
        moved.append(Detections(d.xyxy, d.scores, np.where(over, kind, d.classes)))
    return replace(scored_, detections=moved)


@pytest.mark.parametrize("mode", ["interval", "point"])
def test_false_alarms_may_not_all_go_to_one_class(mode: str) -> None:
    """Scratches pay for it with their precision, though as many boxes are found at as many false alarms."""
    champion = scored(*PLACE, 0.7, seed=1, false_alarms=0.6)
    challenger = _false_alarms_of(0, champion, 1.0, seed=3)
    verdict = decide(champion, challenger, (0.4, 0.4), mode=mode, map50_tolerance=0.2)
    assert row(verdict, "recall of scratch").difference == pytest.approx(0, abs=1e-9)
    assert row(verdict, "precision of dent").passed
    assert row(verdict, "precision of scratch").passed is False
    assert verdict.verdict == "reject"
    assert "precision of scratch" in verdict.reasons[0]


def test_a_lower_precision_is_the_price_of_boxes_that_were_not_found_before() -> None:
    """The champion hardly names a dent, and only when sure; the challenger finds them, with their false alarms."""
    champion = _false_alarms_of(0, scored(*PLACE, 0.7, seed=1, misses={1: 0.15}), 1.0, seed=3)
    challenger = scored(*PLACE, 0.75, seed=1)
    verdict = decide(champion, challenger, (0.4, 0.4))
    lost = row(verdict, "precision of dent")
    assert lost.high is not None
    assert lost.high < -0.05
    assert (lost.passed, lost.vetoes) == (True, False)
    assert "significantly more of them are found" in lost.says
    assert verdict.verdict == "promote"


def test_boxes_of_a_few_cars_have_no_veto() -> None:
    """40 dents, none found any more: of 40 cars that is harm, of nine it may be those nine cars."""
    for cars, harmful in ((40, True), (9, False)):
        truths, groups = golden(440, 150, seed=6)
        kinds = [int(i >= 400) for i in range(440)]
        truths = [replace(t, classes=np.array([k])) for t, k in zip(truths, kinds, strict=True)]
        groups = [g if k == 0 else f"dents {i % cars}" for i, (g, k) in enumerate(zip(groups, kinds, strict=True))]
        champion = scored(truths, groups, 0.8, seed=1)
        challenger = scored(truths, groups, 0.8, seed=2, misses={1: 0.03})
        verdict = decide(champion, challenger, (0.4, 0.4), mode="point", map50_tolerance=1.0, floor_recall=0.0)
        check = row(verdict, "recall of dent")
        assert (check.passed, check.vetoes) == (not harmful, harmful)
        assert ("9 group(s), under 10: no veto" in check.says) == (not harmful)


def test_one_false_alarm_that_is_very_sure_decides_nothing() -> None:
    """A champion without a false alarm: at none the challenger would find hardly a box, so both are given a few."""
    champion = scored(*PLACE, 0.7, seed=1, false_alarms=0.0)
    challenger = scored(*PLACE, 0.7, seed=1, false_alarms=0.0)
    d = challenger.detections[0]
    sure = Detections(np.vstack([d.xyxy, [[0, 0, 9, 9]]]), np.r_[d.scores, 1.0], np.r_[d.classes, 0])
    challenger = replace(challenger, detections=[sure, *challenger.detections[1:]])
    verdict = decide(champion, challenger, (0.4, 0.4))
    assert verdict.footing is not None
    assert verdict.footing.false_alarms == 0.125
    assert row(verdict, "recall of scratch").difference == pytest.approx(0, abs=1e-9)
    assert verdict.verdict == "promote"
