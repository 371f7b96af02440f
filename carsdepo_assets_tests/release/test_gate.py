"""release/gate.py: what it promotes, rejects and leaves undecided, on drawn models of known skill."""

from __future__ import annotations

from typing import Any

import pytest

from carsdepo_assets.evaluation.predict import Scored
from carsdepo_assets.policy import GatePolicy, Policy
from carsdepo_assets.release.gate import NotComparable, Verdict, gate_verdict
from carsdepo_assets.release.gate_checks import Check, boxes_needed
from carsdepo_assets_tests.release.scored import golden, scored

NAMES = ("scratch", "dent")
LARGE = golden(3000, 700, seed=1)
SMALL = golden(57, 22, seed=1)
MIDDLE = ["night" if i // 2 % 2 else "day" for i in range(3000)]


def gate_policy(**changes: Any) -> Policy:
    return Policy(gate=GatePolicy(**({"resamples": 200} | changes)))


def decide(champion: Scored | None, challenger: Scored, policy: Policy | None = None, **changes: Any) -> Verdict:
    arguments: dict[str, Any] = {"latency_p95_ms": 100.0, "parity": 1.0, "slices": {}} | changes
    return gate_verdict(
        champion, challenger, NAMES, (None if champion is None else 0.4, 0.4), policy or gate_policy(), **arguments
    )


def row(verdict: Verdict, name: str) -> Check:
    [checks] = [c for c in verdict.checks if c.name == name]
    return checks


@pytest.fixture(scope="module")
def champion() -> Scored:
    return scored(*LARGE, 0.7, seed=1)


def test_the_same_predictions_are_promoted(champion: Scored) -> None:
    verdict = decide(champion, champion)
    assert verdict.verdict == "promote"
    assert (row(verdict, "mAP@.5").low, row(verdict, "mAP@.5").high) == (0.0, 0.0)
    assert (verdict.boxes, verdict.photographs, verdict.needed) == (3000, 3000, None)


def test_a_better_model_is_promoted(champion: Scored) -> None:
    verdict = decide(champion, scored(*LARGE, 0.8, seed=2))
    assert verdict.verdict == "promote"
    difference = row(verdict, "mAP@.5").difference
    assert difference is not None
    assert difference > 0.05
    assert any("not worse" in reason and "+" in reason for reason in verdict.reasons)


def test_a_worse_model_is_rejected_with_the_numbers(champion: Scored) -> None:
    verdict = decide(champion, scored(*LARGE, 0.55, seed=2))
    assert verdict.verdict == "reject"
    check = row(verdict, "mAP@.5")
    assert check.high is not None
    assert check.high < -0.02
    assert f"mAP@.5 {check.challenger:.3f} against {check.champion:.3f}" in verdict.reasons[0]
    assert "bar −2.0: worse" in verdict.reasons[0]


def test_little_data_do_not_decide() -> None:
    verdict = decide(scored(*SMALL, 0.7, seed=1), scored(*SMALL, 0.7, seed=2))
    assert verdict.verdict == "undecided"
    assert verdict.needed is not None
    assert verdict.needed > 57
    assert "labelled boxes would decide (57 now)" in " ".join(verdict.reasons)


def test_the_middle_decides_in_point_mode_and_says_so() -> None:
    first, second = scored(*SMALL, 0.7, seed=1), scored(*SMALL, 0.8, seed=6)
    assert decide(first, second).verdict == "undecided"
    verdict = decide(first, second, gate_policy(mode="point"))
    assert (verdict.verdict, verdict.mode) == ("promote", "point")
    assert "by the middle alone" in verdict.reasons[0]
    assert "Point mode" in verdict.notes[0]
    worse = decide(second, first, gate_policy(mode="point"))
    assert worse.verdict == "reject"
    assert "worse, by the middle alone" in worse.reasons[0]


def test_one_class_may_not_pay_for_the_other(champion: Scored) -> None:
    """Dents found less, scratches more: overall as good, and still rejected, in point mode too."""
    challenger = scored(*LARGE, 0.9, seed=2, misses={1: 0.55})
    for mode in ("interval", "point"):
        verdict = decide(champion, challenger, gate_policy(mode=mode))
        assert row(verdict, "mAP@.5").passed
        assert row(verdict, "recall of scratch").passed
        assert row(verdict, "recall of dent").passed is False
        assert verdict.verdict == "reject"
        assert "recall of dent" in verdict.reasons[0]
        assert "harm" in verdict.reasons[0]


def test_a_large_slice_vetoes_on_significant_harm(champion: Scored) -> None:
    skills = [0.52 if light == "night" else 0.97 for light in MIDDLE]
    challenger = scored(*LARGE, skills, seed=2)
    assert decide(champion, challenger).verdict == "promote"
    verdict = decide(champion, challenger, slices={"light": MIDDLE})
    assert verdict.verdict == "reject"
    assert "mAP@.5 of light night" in verdict.reasons[0]
    assert row(verdict, "mAP@.5 of light day").passed
    # Significant harm alone vetoes, so point mode heeds the interval here too.
    assert decide(champion, challenger, gate_policy(mode="point"), slices={"light": MIDDLE}).verdict == "reject"


def test_a_small_slice_has_no_veto(champion: Scored) -> None:
    few = ["night" if i < 299 else None for i in range(3000)]
    skills = [0.2 if light else 0.85 for light in few]
    verdict = decide(champion, scored(*LARGE, skills, seed=2), slices={"light": few})
    assert verdict.verdict == "promote"
    assert "299 boxes, under 300: no veto" in row(verdict, "mAP@.5 of light night").says
    assert row(verdict, "mAP@.5 of light unknown").boxes == 2701


@pytest.mark.parametrize(
    ("changes", "policy", "name", "says"),
    [
        ({"latency_p95_ms": 2000.1}, {}, "latency p95, ms", "exceeds"),
        ({"parity": 0.979}, {}, "export parity", "97.9 %"),
        ({}, {"floor_map50": 0.99}, "floor of mAP@.5", "under the floor of 0.990"),
        ({}, {"floor_recall": 0.99}, "floor of recall of dent", "under the floor of 0.990"),
    ],
)
@pytest.mark.parametrize("first", [True, False], ids=["first model", "with a champion"])
def test_floors_and_limits_are_absolute(
    champion: Scored, changes: dict[str, Any], policy: dict[str, Any], name: str, says: str, first: bool
) -> None:
    assert decide(None if first else champion, champion).verdict == "promote"
    verdict = decide(None if first else champion, champion, gate_policy(**policy), **changes)
    assert verdict.verdict == "reject"
    assert row(verdict, name).passed is False
    assert any(says in reason for reason in verdict.reasons)


@pytest.mark.parametrize("changes", [{"latency_p95_ms": None}, {"parity": None}])
def test_what_was_not_measured_is_not_passed(champion: Scored, changes: dict[str, Any]) -> None:
    verdict = decide(champion, champion, **changes)
    assert verdict.verdict == "undecided"
    assert any("not measured" in reason for reason in verdict.reasons)


def test_the_first_model_needs_floors_and_limits_only(champion: Scored) -> None:
    verdict = decide(None, champion)
    assert verdict.verdict == "promote"
    assert "first model" in verdict.reasons[0]
    assert {c.kind for c in verdict.checks} == {"floor", "limit"}
    assert "champion_map50" not in verdict.figures


def test_a_class_without_boxes_is_undecided_and_in_point_mode_said() -> None:
    only = golden(400, 100, seed=3, classes=1)
    model = scored(*only, 0.8, seed=1)
    for first in (None, model):
        assert decide(first, model).verdict == "undecided"
        verdict = decide(first, model, gate_policy(mode="point"))
        assert verdict.verdict == "promote"
        assert any("no such box" in reason for reason in verdict.reasons)


@pytest.mark.parametrize("mode", ["interval", "point"])
def test_no_boxes_at_all_never_promote(mode: str) -> None:
    nothing = scored([], [], 0.9, seed=1)
    for first in (None, nothing):
        assert decide(first, nothing, gate_policy(mode=mode)).verdict == "undecided"


def test_only_the_same_photographs_compare(champion: Scored) -> None:
    fewer = Scored(champion.rows[1:], champion.truths[1:], champion.detections[1:], champion.sizes[1:])
    with pytest.raises(NotComparable, match="3000 photographs and the challenger on 2999"):
        decide(champion, fewer)
    relabelled = Scored(champion.rows, champion.truths[:-1] + champion.truths[:1], champion.detections, champion.sizes)
    with pytest.raises(NotComparable, match=r"i02999.*different labels"):
        decide(champion, relabelled)


def test_boxes_needed() -> None:
    assert boxes_needed(100, 0.0, -0.02, 0.04) == 400
    assert boxes_needed(100, -0.06, -0.02, 0.08) == 400
    assert boxes_needed(100, -0.02, -0.02, 0.04) is None


def test_the_boxes_it_asks_for_decide() -> None:
    """Of 15 pairs of a clearly better model, grown to the boxes asked for, most are decided."""
    decided = asked = 0
    for seed in range(15):
        truths, groups = golden(60, 60, seed)
        pair = [scored(truths, groups, s, seed=100 * seed + n) for n, s in enumerate((0.6, 0.75))]
        verdict = decide(*pair, gate_policy(resamples=100))
        if verdict.verdict != "undecided" or verdict.needed is None or verdict.needed > 2000:
            continue
        asked += 1
        more = golden(verdict.needed, verdict.needed, seed)
        grown = [scored(*more, s, seed=100 * seed + n) for n, s in enumerate((0.6, 0.75))]
        decided += decide(*grown, gate_policy(resamples=100)).verdict != "undecided"
    assert asked >= 5
    assert decided >= 0.6 * asked


@pytest.mark.slow
def test_equal_models_are_rarely_promoted_on_few_boxes() -> None:
    """57 boxes in 22 groups do not show that a model is at most 2 points worse."""
    promoted = 0
    for seed in range(20):
        truths, groups = golden(57, 22, seed)
        pair = [scored(truths, groups, 0.75, seed=100 * seed + n) for n in range(2)]
        promoted += decide(*pair).verdict == "promote"
    assert promoted <= 5


@pytest.mark.slow
def test_on_many_boxes_a_worse_model_never_passes_and_an_equal_one_is_not_rejected() -> None:
    for seed in range(4):
        truths, groups = golden(4000, 1000, seed)
        first, equal, worse = (scored(truths, groups, s, seed=100 * seed + n) for n, s in enumerate((0.75, 0.75, 0.66)))
        assert decide(first, equal, gate_policy(resamples=100)).verdict != "reject"
        assert decide(first, worse, gate_policy(resamples=100)).verdict == "reject"
