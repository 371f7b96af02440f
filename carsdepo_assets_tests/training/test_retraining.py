"""training/retraining.py, sensors.py, fallbacks.py: when a retraining starts, from the state alone, and once."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest

from carsdepo_assets.alerts.resources import AlertsResource
from carsdepo_assets.detectors.base import Recipe
from carsdepo_assets.detectors.recipe_changes import recipe_key
from carsdepo_assets.lake.label_state import FALLBACK_TAG, LABEL_STATE_TAG, mark_trained, trained_at
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.lake.trainings import Outcome, outcomes, record_outcome
from carsdepo_assets.orchestration.decision import Decision
from carsdepo_assets.orchestration.run_states import INTERRUPTED, INTERRUPTED_TAG
from carsdepo_assets.policy import Fallback, Longer, Policy, TrainingPolicy
from carsdepo_assets.registry.labels_learnt import LabelCoverage
from carsdepo_assets.resources import LakeResource, PolicyResource
from carsdepo_assets.training.fallbacks import impossible
from carsdepo_assets.training.retraining import (
    GivenUp,
    PersonAsked,
    RetrainingDue,
    RetrainingInputs,
    asked_by,
    retraining_decision,
)
from carsdepo_assets.training.sensors import DRIFT_TAG, retrain

RULES = TrainingPolicy(min_new_labels=5, debounce_s=10, max_attempts=2)
USUAL = RetrainingInputs(labels=30, trained=20, newest_label_s=60)
NOW = datetime.now(UTC)


@pytest.mark.parametrize(
    ("changes", "answer"),
    [
        ({}, RetrainingDue(1)),
        ({"labels": 25}, RetrainingDue(1)),  # five new: just enough
        ({"labels": 24}, "min_new_labels is 5"),
        ({"labels": 24, "asked_by": "r1"}, RetrainingDue(1)),  # drift asked: fewer will do
        ({"labels": 21, "asked_by": "r1"}, RetrainingDue(1)),
        ({"labels": 20, "asked_by": "r1"}, "report r1 asks for a retraining: it waits for new labels"),
        ({"labels": 20}, "20 label revisions in the lake, 20 when"),
        ({"labels": 19}, "19 label revisions"),  # trained elsewhere on more: nothing to do here
        ({"training": True}, "under way"),
        ({"training": True, "asked_by": "r1"}, "under way"),
        ({"ingesting": True}, "being ingested"),
        ({"newest_label_s": 9.9}, "under 10 s old"),
        ({"newest_label_s": 10.0}, RetrainingDue(1)),
        ({"newest_label_s": None}, RetrainingDue(1)),
        ({"asked_by": "r1", "newest_label_s": 1.0}, "under 10 s old"),
        ({"attempts": 1}, RetrainingDue(2)),
        ({"next": "longer-3"}, RetrainingDue(1, "longer-3")),
        (
            {"next": "longer-3", "labels": 21},
            RetrainingDue(1, "longer-3"),
        ),  # the training that it follows was due already
        ({"next": "longer-3", "attempts": 1}, RetrainingDue(2, "longer-3")),
        ({"next": "longer-3", "training": True}, "under way"),
        ({"next": "longer-3", "ingesting": True}, "being ingested"),
        ({"next": "longer-3", "newest_label_s": 9.9}, "under 10 s old"),
        ({"next": "longer-3", "labels": 20}, "20 label revisions in the lake"),
        ({"next": "longer-3", "settled": "ann approved it."}, "nothing more is tried. ann approved it."),
        ({"next": "start-afresh"}, GivenUp("start-afresh", "Not tried: it is what it was.", impossible=True)),
        ({"next": "start-afresh", "attempts": 2}, GivenUp("start-afresh", "Not tried: it is what it was.", True)),
        ({"next": None}, PersonAsked()),
        ({"next": None, "settled": "ann trained."}, "nothing more is tried. ann trained."),
    ],
)
def test_due(changes: dict[str, object], answer: RetrainingDue | GivenUp | PersonAsked | str) -> None:
    def impossible(change: Fallback) -> str | None:
        return "it is what it was" if change.name == "start-afresh" else None

    decision = retraining_decision(replace(USUAL, **changes), RULES, impossible)  # type: ignore[arg-type]
    if isinstance(answer, str):
        assert decision.action is None
        assert answer in decision.message
    elif answer == PersonAsked():
        reason = "Every training at label state 30 was under the floor or could not be tried."
        assert decision == Decision(answer, reason)
    else:
        assert decision.action == answer


@pytest.mark.parametrize(
    ("next", "fallback", "expected"),
    [
        ("recipe", None, "2 trainings at label state 30 did not finish: see their runs; new labels or a manual run"),
        ("longer-3", "longer-3", "2 trainings did not finish: see their runs."),
    ],
)
@pytest.mark.parametrize("asked", [None, "r1"])
def test_runs_without_a_model_are_not_repeated_for_ever(
    next: str, fallback: str | None, expected: str, asked: str | None
) -> None:
    """They crashed or were killed: another matter than a model under the floor."""
    given_up = retraining_decision(replace(USUAL, next=next, attempts=2, asked_by=asked), RULES).action
    assert isinstance(given_up, GivenUp)
    assert (given_up.fallback, given_up.impossible) == (fallback, False)
    assert expected in given_up.reason


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake.open(tmp_path / "lake")


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as ephemeral:
        yield ephemeral


def label(lake: Lake, *names: str, at: datetime = NOW - timedelta(hours=1)) -> None:
    """A processed photograph each, with a label."""
    lake.append("processed", [{"image_id": n} for n in names], f"p-{names}")
    lake.append("annotations", [{"image_id": n, "created_at": at} for n in names], f"a-{names}")


def route(lake: Lake, report: str, at: datetime, *actions: str) -> None:
    lake.append("routes", [{"report_id": report, "at": at, "actions": list(actions)}], report)


def trained(lake: Lake, state: int, seen_at: datetime | None) -> None:
    mark_trained(lake, digest="aaaa", dataset="d", recipe="r", state=state, seen_at=seen_at)


Ticked = dg.RunRequest | dg.SensorResult | dg.SkipReason


def tick(lake: Lake, instance: dg.DagsterInstance, tmp_path: Path, **settings: object) -> Ticked:
    (tmp_path / "carsdepo.toml").write_text("[training]\n" + "\n".join(f"{k} = {v}" for k, v in settings.items()))
    context = dg.build_sensor_context(
        instance=instance,
        resources={
            "lake": LakeResource(url=lake.url, home=str(tmp_path)),
            "policy": PolicyResource(files=[str(tmp_path / "carsdepo.toml")]),
            "alerts": AlertsResource(),
        },
    )
    answer = retrain(context)
    assert isinstance(answer, Ticked)
    return answer


def message_of(answer: Ticked) -> str:
    """Why a tick that changed nothing starts no training."""
    assert isinstance(answer, dg.SkipReason)
    return str(answer.skip_message)


def work_of(answer: Ticked) -> str:
    """What a tick that starts no training did."""
    assert isinstance(answer, dg.SensorResult)
    assert not answer.run_requests
    assert answer.skip_reason is not None
    return str(answer.skip_reason.skip_message)


def run(instance: dg.DagsterInstance, status: dg.DagsterRunStatus, state: int, **tags: str) -> None:
    """A run's record; one that failed, failed by itself unless the tags tell of an interruption."""
    all_tags = {LABEL_STATE_TAG: str(state), "dagster/failure_reason": "STEP_FAILURE", **tags}
    instance.add_run(dg.DagsterRun(job_name="train", status=status, tags=all_tags))


def test_the_newest_route_since_the_last_training_counts(lake: Lake) -> None:
    assert asked_by(lake, None) is None
    route(lake, "old", NOW - timedelta(hours=3), "queue", "retrain")
    route(lake, "queued", NOW - timedelta(hours=1), "queue", "alert")  # asks for no retraining
    assert asked_by(lake, None) == "old"
    assert asked_by(lake, NOW - timedelta(hours=2)) is None
    route(lake, "new", NOW - timedelta(minutes=5), "retrain")
    route(lake, "newer", NOW - timedelta(minutes=4), "retrain", "hold")
    assert asked_by(lake, NOW - timedelta(hours=2)) == "newer"


def test_a_route_that_comes_while_a_model_trains_is_not_lost(
    lake: Lake, instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    """The training saw the labels before the report came, and is judged after it."""
    label(lake, "a", "b")
    route(lake, "r1", NOW - timedelta(minutes=30), "retrain")
    label(lake, "c")
    run(instance, dg.DagsterRunStatus.STARTED, 2)
    assert "under way" in message_of(tick(lake, instance, tmp_path, min_new_labels=50))
    [training] = instance.get_runs()
    instance.report_run_canceled(training)
    trained(lake, 2, seen_at=NOW - timedelta(minutes=40))
    request = tick(lake, instance, tmp_path, min_new_labels=50)
    assert isinstance(request, dg.RunRequest)
    assert (request.run_key, request.tags) == ("labels:3:1", {LABEL_STATE_TAG: "3", DRIFT_TAG: "r1"})


def test_a_route_is_answered_by_the_training_that_saw_labels_after_it(
    lake: Lake, instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    label(lake, "a", "b")
    route(lake, "r1", NOW - timedelta(minutes=30), "retrain")
    trained(lake, 2, seen_at=NOW - timedelta(minutes=20))
    label(lake, "c")
    assert "min_new_labels is 50" in message_of(tick(lake, instance, tmp_path, min_new_labels=50))
    assert isinstance(tick(lake, instance, tmp_path, min_new_labels=1), dg.RunRequest)


def test_the_routers_own_run_is_not_doubled(lake: Lake, instance: dg.DagsterInstance, tmp_path: Path) -> None:
    """Whoever starts a training tags it with the label state: it is waited for, and counts as an attempt."""
    label(lake, "a", "b")
    run(instance, dg.DagsterRunStatus.STARTING, 2, **{"dagster/sensor_name": "route_drift"})
    assert "under way" in message_of(tick(lake, instance, tmp_path))
    [theirs] = instance.get_runs()
    instance.report_run_failed(theirs)
    request = tick(lake, instance, tmp_path)
    assert isinstance(request, dg.RunRequest)
    assert request.run_key == "labels:2:2"
    run(instance, dg.DagsterRunStatus.FAILURE, 2)
    run(instance, dg.DagsterRunStatus.FAILURE, 2)
    assert "3 trainings at label state 2 did not finish" in work_of(tick(lake, instance, tmp_path))
    label(lake, "c")
    assert isinstance(tick(lake, instance, tmp_path), dg.RunRequest)  # a new state has attempts of its own
    trained(lake, 3, seen_at=NOW)
    assert "3 when the last model" in message_of(tick(lake, instance, tmp_path))


def test_labels_wait_until_none_followed(lake: Lake, instance: dg.DagsterInstance, tmp_path: Path) -> None:
    label(lake, "a", at=datetime.now(UTC))
    assert "more may follow" in message_of(tick(lake, instance, tmp_path, debounce_s=3600))
    assert isinstance(tick(lake, instance, tmp_path, debounce_s=0), dg.RunRequest)


def test_a_model_of_an_earlier_version_has_no_time(lake: Lake) -> None:
    assert trained_at(lake) is None
    lake.put("training/latest.json", b'{"digest": "a", "dataset": "d", "recipe": "r", "label_state": 2}')
    assert trained_at(lake) is None
    trained(lake, 2, seen_at=NOW)
    assert trained_at(lake) == NOW


YOLO = Recipe(detector="yolov8n", minutes=2.0)


def judged(lake: Lake, state: int, fallback: str | None = None, **more: object) -> Outcome:
    """A model under the floor; its recipe is in the lake."""
    lake.put(recipe_key(YOLO.digest()), YOLO.model_dump_json().encode())
    fields = {
        "label_state": state,
        "at": datetime.now(UTC),
        "asked_by": "retrain",
        "fallback": fallback,
        "outcome": "under_floor",
        "dataset": "d",
        "recipe": YOLO.digest(),
        "digest": f"{fallback or 'usual'}-{state}",
        "version": 1,
        "map50": 0.001,
        "floor": 0.02,
        "reason": "mAP@.5 0.001 is under the floor of 0.020.",
    }
    outcome = Outcome.model_validate(fields | more)
    record_outcome(lake, outcome)
    return outcome


def told(lake: Lake) -> list[str]:
    return [f"{r['kind']} {r['key']}" for r in lake.read("alerts").to_pylist()]


def test_a_model_under_the_floor_is_followed_by_the_next_fallback(
    lake: Lake, instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    label(lake, "a", "b")
    judged(lake, 2)
    request = tick(lake, instance, tmp_path)
    assert isinstance(request, dg.RunRequest)
    assert request.run_key == "labels:2:longer-3:1"
    assert request.tags == {LABEL_STATE_TAG: "2", FALLBACK_TAG: "longer-3"}
    assert request.run_config == {"ops": {"recipe": {"config": {"fallback": "longer-3", "label_state": 2}}}}
    # Killed before it was judged: the same fallback again, under a key of its own; the usual recipe's runs count apart.
    run(instance, dg.DagsterRunStatus.FAILURE, 2)
    run(instance, dg.DagsterRunStatus.FAILURE, 2, **{FALLBACK_TAG: "longer-3"})
    again = tick(lake, instance, tmp_path)
    assert isinstance(again, dg.RunRequest)
    assert again.run_key == "labels:2:longer-3:2"
    judged(lake, 2, "longer-3")
    # Random weights it had: the other start is passed over, once, and what follows has its turn in the same tick.
    for _ in range(2):
        third = tick(lake, instance, tmp_path)
        assert isinstance(third, dg.RunRequest)
        assert third.run_key == "labels:2:detector-faster_rcnn:1"
    assert [(o.tried, o.outcome) for o in outcomes(lake, 2)] == [
        ("recipe", "under_floor"),
        ("longer-3", "under_floor"),
        ("start-afresh", "skipped"),
    ]
    assert told(lake) == []  # the models' own alerts come from their runs


def test_after_the_last_fallback_a_person_is_asked(lake: Lake, instance: dg.DagsterInstance, tmp_path: Path) -> None:
    label(lake, "a", "b")
    for fallback in (None, "longer-3", "detector-faster_rcnn"):
        judged(lake, 2, fallback)
    assert "An alert asks a person" in work_of(tick(lake, instance, tmp_path))
    for _ in range(2):  # the alert is not repeated, so that nothing is left to do
        assert "a person is asked" in message_of(tick(lake, instance, tmp_path))
    assert told(lake) == ["training_needs_person training_needs_person:2"]
    (alert,) = lake.read("alerts").to_pylist()
    assert "- start-afresh: Not tried: it started from random weights already." in alert["body"]
    assert "- detector-yolov8n: Not tried: it was a yolov8n already." in alert["body"]
    label(lake, "c")  # a new state of the labels
    fresh = tick(lake, instance, tmp_path)
    assert isinstance(fresh, dg.RunRequest)
    assert (fresh.run_key, fresh.run_config) == ("labels:3:1", {})


def test_without_fallbacks_a_person_is_asked_at_once(lake: Lake, instance: dg.DagsterInstance, tmp_path: Path) -> None:
    label(lake, "a")
    judged(lake, 1)
    assert "a person is asked" in work_of(tick(lake, instance, tmp_path, fallbacks="[]"))


def test_runs_that_never_came_to_a_model_ask_a_person_and_start_no_fallback(
    lake: Lake, instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    label(lake, "a")
    for _ in range(3):
        run(instance, dg.DagsterRunStatus.FAILURE, 1)
    assert "3 trainings at label state 1 did not finish" in work_of(tick(lake, instance, tmp_path))
    assert told(lake) == ["training_needs_person training_needs_person:1"]
    assert [(o.tried, o.outcome) for o in outcomes(lake, 1)] == [("recipe", "did_not_finish")]


def test_a_fallback_that_never_finishes_is_passed_over(
    lake: Lake, instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    label(lake, "a")
    judged(lake, 1)
    for _ in range(2):
        run(instance, dg.DagsterRunStatus.FAILURE, 1, **{FALLBACK_TAG: "longer-3"})
    request = tick(lake, instance, tmp_path, max_attempts=2)
    assert isinstance(request, dg.RunRequest)
    assert request.run_key == "labels:1:detector-faster_rcnn:1"
    assert ("longer-3", "did_not_finish") in [(o.tried, o.outcome) for o in outcomes(lake, 1)]


def test_drift_still_asks_after_a_training_under_the_floor(
    lake: Lake, instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    label(lake, "a")
    route(lake, "r1", NOW - timedelta(minutes=30), "retrain")
    judged(lake, 1)  # looked at the labels after the route, and learnt nothing of them
    request = tick(lake, instance, tmp_path, min_new_labels=50)
    assert isinstance(request, dg.RunRequest)
    assert request.tags[DRIFT_TAG] == "r1"


def test_a_killed_training_is_no_attempt_but_the_next_is_another_run(
    lake: Lake, instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    """A crash of the machine must not use up the attempts; a run key that was used would start nothing."""
    label(lake, "a", "b")
    for killed in range(5):
        answer = tick(lake, instance, tmp_path, max_attempts=1)
        assert isinstance(answer, dg.RunRequest)
        assert answer.run_key == f"labels:2:{killed + 1}"
        run(instance, dg.DagsterRunStatus.FAILURE, 2, **{INTERRUPTED_TAG: INTERRUPTED})
    run(instance, dg.DagsterRunStatus.FAILURE, 2)
    assert "1 trainings at label state 2 did not finish" in work_of(tick(lake, instance, tmp_path, max_attempts=1))


def test_a_training_that_is_killed_every_time_is_given_up(
    lake: Lake, instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    label(lake, "a", "b")
    for _ in range(Policy().runs.max_interruptions + 1):
        assert isinstance(tick(lake, instance, tmp_path, max_attempts=1), dg.RunRequest)
        run(instance, dg.DagsterRunStatus.FAILURE, 2, **{INTERRUPTED_TAG: INTERRUPTED})
    assert "did not finish" in work_of(tick(lake, instance, tmp_path, max_attempts=1))


def test_a_fallback_of_a_recipe_that_is_not_understood_is_given_up(tmp_path: Path) -> None:
    """The sensor would fail at each tick: the recipe is of a newer release, or its family's package is gone."""
    lake, recipe = Lake.open(tmp_path), Recipe()
    outcome = Outcome(label_state=1, at=NOW, asked_by="retrain", outcome="under_floor", recipe=recipe.digest())
    coverage = LabelCoverage(1, 1, (outcome,), "longer")
    lake.put(recipe_key(recipe.digest()), recipe.model_dump_json().encode())
    assert impossible(lake, coverage, tmp_path, Longer()) is None
    for change in ({"detector": "of_a_package"}, {"warp": 2}):
        lake.put(recipe_key(recipe.digest()), json.dumps(recipe.model_dump(mode="json") | change).encode())
        reason = impossible(lake, coverage, tmp_path, Longer())
        assert reason is not None
        assert reason.startswith(f"the recipe {recipe.digest()} is not understood here (")
