"""demo/training_budget.py: steps on the sample, minutes where the user asks for them or the photographs are real."""

from __future__ import annotations

import pytest

from carsdepo_assets.demo.training_budget import SAMPLE_STEPS, Budget, budget
from carsdepo_assets.policy import TrainingPolicy

POLICY = TrainingPolicy()


@pytest.mark.parametrize("again", [False, True])
def test_the_sample_is_trained_in_steps_with_no_clock_but_the_far_cap(again: bool) -> None:
    chosen, phrase = budget(POLICY, rendered=True, again=again, minutes=None, detector=None)
    assert chosen.config() == {"steps": SAMPLE_STEPS["yolov8n"][again]}
    assert f"{SAMPLE_STEPS['yolov8n'][again]} optimizer steps" in phrase
    assert POLICY.cap_minutes >= 60  # minutes on a quiet machine


def test_a_family_has_its_steps_and_the_policy_may_name_it() -> None:
    asked, _ = budget(POLICY, rendered=True, again=False, minutes=None, detector="faster_rcnn")
    by_policy, _ = budget(
        TrainingPolicy(detector="faster_rcnn"), rendered=True, again=False, minutes=None, detector=None
    )
    assert asked == by_policy == Budget(SAMPLE_STEPS["faster_rcnn"][0], None)
    other, _ = budget(POLICY, rendered=True, again=True, minutes=None, detector="dfine_n")
    assert other == Budget(SAMPLE_STEPS["yolov8n"][1], None)


@pytest.mark.parametrize("rendered", [True, False])
def test_minutes_that_the_user_gives_are_time_and_it_is_said(rendered: bool) -> None:
    chosen, phrase = budget(TrainingPolicy(steps=70), rendered=rendered, again=True, minutes=3.5, detector=None)
    assert chosen.config() == {"minutes": 3.5}
    assert "3.5 minutes of wall time, as asked" in phrase


def test_real_photographs_are_trained_for_a_time_and_it_is_said() -> None:
    first, phrase = budget(POLICY, rendered=False, again=False, minutes=None, detector=None)
    assert first.config() == {}  # the policy's minutes
    assert f"{POLICY.minutes:g} minutes" in phrase
    again, phrase = budget(POLICY, rendered=False, again=True, minutes=None, detector=None)
    assert again.steps is None
    assert f"{again.minutes:g} minutes" in phrase


def test_steps_of_the_users_policy_hold() -> None:
    for rendered in (True, False):
        chosen, phrase = budget(TrainingPolicy(steps=70), rendered=rendered, again=False, minutes=None, detector=None)
        assert chosen.config() == {}
        assert "70 optimizer steps, by the policy" in phrase
