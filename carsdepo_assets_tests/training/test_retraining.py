"""When a retraining starts: by what is there, whatever order it came in, and once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest

from carsdepo_assets.compute.run_states import INTERRUPTED, INTERRUPTED_TAG
from carsdepo_assets.lake.label_state import LABEL_STATE_TAG, mark_trained, trained_at
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.policy import Policy, TrainingPolicy
from carsdepo_assets.resources import LakeResource, PolicyResource
from carsdepo_assets.training.retraining import Due, Situation, asked_by, due
from carsdepo_assets.training.sensors import DRIFT_TAG, retrain

RULES = TrainingPolicy(min_new_labels=5, debounce_s=10, max_attempts=2)
USUAL = Situation(labels=30, trained=20, newest_label_s=60)
NOW = datetime.now(UTC)


@pytest.mark.parametrize(
    ("changes", "answer"),
    [
        ({}, Due(1)),
        ({"labels": 25}, Due(1)),  # five new: just enough
        ({"labels": 24}, "min_new_labels is 5"),
        ({"labels": 24, "asked_by": "r1"}, Due(1)),  # drift asked: fewer will do
        ({"labels": 21, "asked_by": "r1"}, Due(1)),
        ({"labels": 20, "asked_by": "r1"}, "report r1 asks for a retraining: it waits for new labels"),
        ({"labels": 20}, "20 label revisions in the lake, 20 when"),
        ({"labels": 19}, "19 label revisions"),  # trained elsewhere on more: nothing to do here
        ({"training": True}, "under way"),
        ({"training": True, "asked_by": "r1"}, "under way"),
        ({"ingesting": True}, "being ingested"),
        ({"newest_label_s": 9.9}, "under 10 s old"),
        ({"newest_label_s": 10.0}, Due(1)),
        ({"newest_label_s": None}, Due(1)),
        ({"asked_by": "r1", "newest_label_s": 1.0}, "under 10 s old"),
        ({"attempts": 1}, Due(2)),
        ({"attempts": 2}, "2 trainings at label state 30 did not finish"),
        ({"attempts": 2, "asked_by": "r1"}, "did not finish"),
    ],
)
def test_due(changes: dict[str, object], answer: Due | str) -> None:
    found = due(replace(USUAL, **changes), RULES)  # type: ignore[arg-type]
    if isinstance(answer, Due):
        assert found == answer
    else:
        assert isinstance(found, str)
        assert answer in found


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake.open(tmp_path / "lake")


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as made:
        yield made


def label(lake: Lake, *names: str, at: datetime = NOW - timedelta(hours=1)) -> None:
    """A processed photograph each, with a label."""
    lake.append("processed", [{"image_id": n} for n in names], f"p-{names}")
    lake.append("annotations", [{"image_id": n, "created_at": at} for n in names], f"a-{names}")


def route(lake: Lake, report: str, at: datetime, *actions: str) -> None:
    lake.append("routes", [{"report_id": report, "at": at, "actions": list(actions)}], report)


def trained(lake: Lake, state: int, seen_at: datetime | None) -> None:
    mark_trained(lake, digest="aaaa", dataset="d", recipe="r", state=state, seen_at=seen_at)


def tick(lake: Lake, instance: dg.DagsterInstance, tmp_path: Path, **rules: float) -> dg.RunRequest | dg.SkipReason:
    (tmp_path / "carsdepo.toml").write_text("[training]\n" + "\n".join(f"{k} = {v}" for k, v in rules.items()))
    context = dg.build_sensor_context(
        instance=instance,
        resources={
            "lake": LakeResource(url=lake.url, home=str(tmp_path)),
            "policy": PolicyResource(file=str(tmp_path / "carsdepo.toml")),
        },
    )
    answer = retrain(context)
    assert isinstance(answer, dg.RunRequest | dg.SkipReason)
    return answer


def said(answer: dg.RunRequest | dg.SkipReason) -> str:
    assert isinstance(answer, dg.SkipReason)
    return str(answer.skip_message)


def run(instance: dg.DagsterInstance, status: dg.DagsterRunStatus, state: int, **tags: str) -> None:
    said = {LABEL_STATE_TAG: str(state), **tags}
    instance.add_run(dg.DagsterRun(job_name="train", status=status, tags=said))


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
    assert "under way" in said(tick(lake, instance, tmp_path, min_new_labels=50))
    [training] = instance.get_runs()
    instance.report_run_canceled(training)
    trained(lake, 2, seen_at=NOW - timedelta(minutes=40))
    found = tick(lake, instance, tmp_path, min_new_labels=50)
    assert isinstance(found, dg.RunRequest)
    assert (found.run_key, found.tags) == ("labels:3:1", {LABEL_STATE_TAG: "3", DRIFT_TAG: "r1"})


def test_a_route_is_answered_by_the_training_that_saw_labels_after_it(
    lake: Lake, instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    label(lake, "a", "b")
    route(lake, "r1", NOW - timedelta(minutes=30), "retrain")
    trained(lake, 2, seen_at=NOW - timedelta(minutes=20))
    label(lake, "c")
    assert "min_new_labels is 50" in said(tick(lake, instance, tmp_path, min_new_labels=50))
    assert isinstance(tick(lake, instance, tmp_path, min_new_labels=1), dg.RunRequest)


def test_the_routers_own_run_is_not_doubled(lake: Lake, instance: dg.DagsterInstance, tmp_path: Path) -> None:
    """Whoever starts a training tags it with the label state: it is waited for, and counts as an attempt."""
    label(lake, "a", "b")
    run(instance, dg.DagsterRunStatus.STARTING, 2, **{"dagster/sensor_name": "route_drift"})
    assert "under way" in said(tick(lake, instance, tmp_path))
    [theirs] = instance.get_runs()
    instance.report_run_failed(theirs)
    found = tick(lake, instance, tmp_path)
    assert isinstance(found, dg.RunRequest)
    assert found.run_key == "labels:2:2"
    run(instance, dg.DagsterRunStatus.FAILURE, 2)
    run(instance, dg.DagsterRunStatus.FAILURE, 2)
    assert "3 trainings at label state 2 did not finish" in said(tick(lake, instance, tmp_path))
    label(lake, "c")
    assert isinstance(tick(lake, instance, tmp_path), dg.RunRequest)  # a new state has attempts of its own
    trained(lake, 3, seen_at=NOW)
    assert "3 when the last model" in said(tick(lake, instance, tmp_path))


def test_labels_wait_until_none_followed(lake: Lake, instance: dg.DagsterInstance, tmp_path: Path) -> None:
    label(lake, "a", at=datetime.now(UTC))
    assert "more may follow" in said(tick(lake, instance, tmp_path, debounce_s=3600))
    assert isinstance(tick(lake, instance, tmp_path, debounce_s=0), dg.RunRequest)


def test_a_model_of_an_earlier_version_has_no_time(lake: Lake) -> None:
    assert trained_at(lake) is None
    lake.put("training/latest.json", b'{"digest": "a", "dataset": "d", "recipe": "r", "label_state": 2}')
    assert trained_at(lake) is None
    trained(lake, 2, seen_at=NOW)
    assert trained_at(lake) == NOW


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
    assert "1 trainings at label state 2 did not finish" in said(tick(lake, instance, tmp_path, max_attempts=1))


def test_a_training_that_is_killed_every_time_is_given_up(
    lake: Lake, instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    label(lake, "a", "b")
    for _ in range(Policy().runs.max_interruptions + 1):
        assert isinstance(tick(lake, instance, tmp_path, max_attempts=1), dg.RunRequest)
        run(instance, dg.DagsterRunStatus.FAILURE, 2, **{INTERRUPTED_TAG: INTERRUPTED})
    assert "did not finish" in said(tick(lake, instance, tmp_path, max_attempts=1))
