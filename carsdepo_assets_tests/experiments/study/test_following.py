"""experiments/study/chosen.py, pinning.py, lake/studies_due.py: what follows from a study, and what a study follows."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from carsdepo_assets.experiments.champion import Champion
from carsdepo_assets.experiments.recipes import choose_recipe
from carsdepo_assets.experiments.study.chosen import current_adjustments
from carsdepo_assets.experiments.study.conclusion import conclude, record_conclusion
from carsdepo_assets.experiments.study.errors import StudyError
from carsdepo_assets.experiments.study.pinning import pin_trial
from carsdepo_assets.experiments.study.told import study_now
from carsdepo_assets.lake import queues, trials
from carsdepo_assets.lake.datasets import read_manifest
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.lake.models import read_card
from carsdepo_assets.lake.queues import Queue, QueuedPhotograph
from carsdepo_assets.lake.studies_due import studies_due
from carsdepo_assets.policy import Policy, StudyPolicy
from carsdepo_assets.registry.ledger import record
from carsdepo_assets_tests.detectors.rectangles import made_up_model
from carsdepo_assets_tests.experiments.study.studied_lake import NOW, opened, plan_of, run_of, study_policy


def concluded(tmp_path: Path, **study: Any) -> tuple[Lake, str]:
    """A study that is over; the formula's best is a factor of 1.5, so a trial other than today's wins."""
    lake, plan = opened(tmp_path, tolerance_points=0, **study)
    run_of(lake, plan, tmp_path).run()
    record_conclusion(lake, plan, conclude(plan, trials.trials(trials.events(lake, plan.study))), NOW)
    return lake, plan.study


@pytest.mark.slow
def test_the_next_recipe_follows_the_winner_and_then_a_pin(tmp_path: Path) -> None:
    lake, study = concluded(tmp_path)
    policy = study_policy()
    told = study_now(lake)
    winner = told["winner"]
    assert winner != 0
    ledger = trials.trials(trials.events(lake, study))
    factor = ledger[winner].asked.params["lr"]
    manifest = read_manifest(lake, "0123456789abcdef")
    usual = choose_recipe(policy, manifest, tmp_path)
    followed = choose_recipe(policy, manifest, tmp_path, adjustments=current_adjustments(lake, policy, None))
    assert followed.recipe.lr == pytest.approx(usual.recipe.lr * factor)
    assert followed.recipe.steps == usual.recipe.steps  # a trial's length is not the training's
    assert any(f"Study {study} is followed, trial {winner}, the study's winner." in line for line in followed.why)

    other = next(n for n in range(1, 5) if n != winner)
    pin_trial(lake, study, other, reason="it finds scratches", actor="ann@desk", now=NOW, pin_id="p1")
    pin_trial(lake, study, other, reason="it finds scratches", actor="ann@desk", now=NOW, pin_id="p1")
    assert len([e for e in trials.events(lake, study) if e.state == "pinned"]) == 1
    pinned = choose_recipe(policy, manifest, tmp_path, adjustments=current_adjustments(lake, policy, None))
    assert pinned.recipe.lr == pytest.approx(usual.recipe.lr * ledger[other].asked.params["lr"])
    assert any("pinned by ann@desk: it finds scratches" in line for line in pinned.why)
    told = study_now(lake, study)
    assert told["pinned"] == {
        "trial": other, "actor": "ann@desk", "reason": "it finds scratches", "at": NOW.isoformat()
    }  # fmt: skip
    assert next(r for r in told["leaderboard"] if r["trial"] == other)["marks"] == "pinned"
    assert b"ann@desk chose trial" in lake.get(f"reports/study/{study}.html")
    # The next study's trial 0 is what is followed now.
    assert plan_of(lake, tmp_path, seed=9).today.lr == pytest.approx(pinned.recipe.lr)


@pytest.mark.parametrize(
    ("order", "automatic", "followed"),
    [
        ("a:pinned a:concluded", True, ("a", 2)),  # the person chose while the study ran
        ("a:concluded a:pinned", True, ("a", 2)),
        ("a:pinned a:concluded b:concluded", True, ("b", 1)),
        ("a:pinned b:concluded a:concluded", True, ("a", 2)),
        ("a:pinned a:concluded b:concluded", False, ("a", 2)),
        ("a:concluded b:pinned a:pinned", False, ("a", 2)),
        ("a:concluded", False, None),
    ],
)
def test_a_pin_goes_before_the_winner_of_its_study(
    order: str, automatic: bool, followed: tuple[str, int] | None, tmp_path: Path
) -> None:
    lake = Lake.open(tmp_path / "lake")
    for minute, text in enumerate(order.split()):
        study, state = text.split(":")
        row = {"study": study, "state": state, "at": NOW + timedelta(minutes=minute)}
        event = trials.TrialEvent.model_validate(row | {"number": 2 if state == "pinned" else 1})
        trials.record_event(lake, event, state)
    event_now = trials.chosen(lake, automatic=automatic)
    assert (event_now and (event_now.study, event_now.number)) == followed


@pytest.mark.slow
def test_what_cannot_be_pinned(tmp_path: Path) -> None:
    lake, name = concluded(tmp_path, trials=2)
    cases = [
        (name, 99, "because", "has no trial 99; its trials are 0 to 1"),
        ("nothing", 0, "because", "no study 'nothing'"),
        (name, 0, "  ", "Say why"),
    ]
    for study, number, reason, says in cases:
        with pytest.raises(StudyError, match=says):
            pin_trial(lake, study, number, reason=reason, actor="ann", now=NOW, pin_id="p")
    assert trials.pin(trials.events(lake, name)) is None


def test_a_trial_without_a_score_is_not_pinned(tmp_path: Path) -> None:
    lake, plan = opened(tmp_path)
    run_of(lake, plan, tmp_path, lambda trial, terms: {"state": "failed", "why": "x", "curve": {}}).run()
    with pytest.raises(StudyError, match="is failed: only a trial with a score"):
        pin_trial(lake, plan.study, 0, reason="r", actor="ann", now=NOW, pin_id="p")


def test_by_policy_only_a_person_or_the_winners_weights_count(tmp_path: Path) -> None:
    lake, _ = concluded(tmp_path)
    assert current_adjustments(lake, study_policy(apply="person"), None) is None
    digest = made_up_model(lake, b"winner", dataset="0123456789abcdef")
    event = trials.chosen(lake)
    assert event is not None
    trials.record_event(lake, event.model_copy(update={"state": "pinned", "digest": digest, "at": NOW}), "pinned:x")
    assert current_adjustments(lake, study_policy(apply="person"), None) is not None
    policy = study_policy(winner_as_init=True)
    adjustments = current_adjustments(lake, policy, None)
    assert adjustments is not None
    recipe = choose_recipe(policy, read_manifest(lake, "0123456789abcdef"), tmp_path, adjustments=adjustments).recipe
    assert (recipe.init, recipe.champion) == ("champion", digest)
    lake.put("datasets/latest.json", json.dumps({"version": "another"}).encode())
    later = current_adjustments(lake, policy, None)
    assert later is not None
    assert later.init_model is None  # on other data the model in production is gone on from


@pytest.mark.parametrize(("years", "followed"), [(0, True), (-10, False)])
def test_a_family_that_was_promoted_since_goes_before_the_studys(years: int, followed: bool, tmp_path: Path) -> None:
    lake = Lake.open(tmp_path)
    card = read_card(lake, made_up_model(lake, b"one", dataset="earlier"))
    record(lake, "production", "promote", digest=card.digest, version=1, actor="ann", reason="by hand")  # now
    at = NOW + timedelta(days=365 * years)
    event = trials.TrialEvent(study="s", at=at, state="pinned", number=2, changes={"detector": "faster_rcnn"})
    trials.record_event(lake, event, "pinned:x")
    assert (current_adjustments(lake, Policy(), Champion(card, card)) is not None) == followed
    same = event.model_copy(update={"changes": {"detector": card.detector}, "at": at + timedelta(seconds=1)})
    trials.record_event(lake, same, "pinned:y")
    assert current_adjustments(lake, Policy(), Champion(card, card)) is not None


def queue(lake: Lake, report_id: str, photographs: int, labelled: int, actions: tuple[str, ...]) -> None:
    """A drift report's route and its finished queue, of which some photographs are labelled."""
    queue_id = queues.queue_id_of(report_id)
    listed = tuple(
        QueuedPhotograph(f"{report_id}-{i}", f"capture/{i}", f"raw/uploads/queue/{queue_id}/{i}.jpg", i + 1, "why")
        for i in range(photographs)
    )
    lake.put(queues.queue_key(queue_id), Queue(queue_id, NOW, report_id, "why", listed).to_json())
    row = {"report_id": report_id, "at": NOW, "band": "high", "actions": list(actions), "queue_id": queue_id}
    lake.append("routes", [row], report_id)
    rows = [
        {"image_id": p.image_id, "revision_id": f"r-{p.image_id}", "sequence": n, "key": "k", "created_at": NOW}
        for n, p in enumerate(listed[:labelled])
    ]
    lake.append("annotations", rows, report_id)


@pytest.mark.parametrize(
    ("photographs", "labelled", "actions", "settings", "due"),
    [
        (4, 2, ("study",), {}, True),
        (4, 1, ("study",), {}, False),
        (4, 1, ("study",), {"labelled_share": 0.25}, True),
        (4, 4, ("queue", "alert"), {}, False),
        (4, 4, ("study",), {"after_high_drift": False}, False),
        (4, 0, ("study",), {"labelled_share": 0.0}, False),  # without a label there is nothing to learn
    ],
)
def test_a_study_is_due_when_its_queue_is_labelled(
    photographs: int, labelled: int, actions: tuple[str, ...], settings: dict[str, Any], due: bool, tmp_path: Path
) -> None:
    lake = Lake.open(tmp_path)
    queue(lake, "r1", photographs, labelled, actions)
    policy = StudyPolicy.model_validate(settings)
    assert studies_due(lake, policy, NOW) == (["r1"] if due else [])
    assert studies_due(lake, policy, NOW + timedelta(days=90)) == []
    trials.record_event(lake, trials.TrialEvent(study="s", at=NOW, state="concluded", report_id="r1"), "concluded")
    assert studies_due(lake, policy, NOW) == []


def test_a_damaged_queue_is_no_study(tmp_path: Path) -> None:
    lake = Lake.open(tmp_path)
    queue(lake, "r1", 2, 2, ("study",))
    lake.put(queues.queue_key(queues.queue_id_of("r1")), b"{")
    assert studies_due(lake, StudyPolicy(), NOW) == []
