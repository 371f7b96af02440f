"""release/gate.py: its power at fewer tries: equal models pass, worse ones and a lost class do not."""

from __future__ import annotations

import pytest

from benchmarks.gate_power import SKILL, WANTED, share, skill_with

pytestmark = pytest.mark.slow

TRIES, RESAMPLES = 20, 200


def test_most_equal_models_are_promoted_on_1500_boxes_in_400_groups() -> None:
    """Interval mode with the policy's tolerance of 2 points; the errors of the two models are their own."""
    equal = share(1500, 400, SKILL, tries=TRIES, resamples=RESAMPLES)
    assert equal.promoted >= WANTED
    assert equal.rejected == 0


def test_a_model_that_is_5_points_worse_is_not() -> None:
    worse = share(1500, 400, skill_with(-0.05), tries=8, resamples=RESAMPLES)
    assert -0.07 < worse.difference < -0.03
    assert worse.promoted == 0


def test_a_class_that_is_found_less_is_seen_where_map50_is_as_good() -> None:
    """Dents lose 10 points of AP and scratches gain them."""
    lost = share(1500, 400, {0: skill_with(0.10), 1: skill_with(-0.10)}, tries=8, resamples=RESAMPLES)
    assert abs(lost.difference) < 0.01
    assert lost.rejected == 1
