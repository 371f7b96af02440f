"""experiments/sensors.py, orchestration/study_runs.py: a labelled queue asks for its study, trainings wait for it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.test_utils import create_run_for_test

from carsdepo_assets.experiments.sensors import study_after_drift
from carsdepo_assets.lake import trials
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.orchestration.run_states import INTERRUPTED_TAG
from carsdepo_assets.orchestration.study_runs import STUDY_JOB, STUDY_TAG, study_to_wait_for
from carsdepo_assets.resources import LakeResource, PolicyResource
from carsdepo_assets_tests.experiments.study import test_following

OLD = datetime.now(UTC) - timedelta(hours=1)  # longer ago than the debounce


@pytest.fixture
def lake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lake:
    monkeypatch.setattr(test_following, "NOW", OLD)
    lake = Lake.open(tmp_path / "lake")
    test_following.queue(lake, "r1", 4, 4, ("queue", "study"))
    return lake


def tick(lake: Lake, instance: dg.DagsterInstance) -> dg.RunRequest | dg.SkipReason:
    resources = {"lake": LakeResource(url=lake.url, home=lake.url), "policy": PolicyResource(files=[])}
    with dg.build_sensor_context(instance=instance, resources=resources) as context:
        result = study_after_drift(context)
    assert isinstance(result, dg.RunRequest | dg.SkipReason)
    return result


def test_it_is_asked_for_until_it_is_concluded(lake: Lake) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        request = tick(lake, instance)
        assert isinstance(request, dg.RunRequest)
        assert (request.run_key, request.tags) == ("study:r1", {STUDY_TAG: "r1"})
        assert request.run_config == {"ops": {"trials": {"config": {"report_id": "r1"}}}}
        trials.record_event(lake, trials.TrialEvent(study="s", at=OLD, state="concluded", report_id="r1"), "concluded")
        assert isinstance(tick(lake, instance), dg.SkipReason)


@pytest.mark.parametrize(
    ("status", "tags", "asked", "waited"),
    [
        (None, {}, True, True),
        (dg.DagsterRunStatus.STARTED, {}, False, True),
        (dg.DagsterRunStatus.FAILURE, {INTERRUPTED_TAG: "true"}, True, True),
        # It failed by itself, as where the dataset has no val boxes: a person is told, and the labels are learnt.
        (dg.DagsterRunStatus.FAILURE, {"dagster/failure_reason": "STEP_FAILURE"}, False, False),
    ],
)
def test_a_training_waits_for_a_study_that_comes(
    status: dg.DagsterRunStatus | None, tags: dict[str, str], asked: bool, waited: bool, lake: Lake
) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        if status is not None:
            create_run_for_test(instance, job_name=STUDY_JOB, status=status, tags={STUDY_TAG: "r1", **tags})
        assert isinstance(tick(lake, instance), dg.RunRequest) == asked
        why = study_to_wait_for(instance, ["r1"], 10)
        assert (why is not None) == waited
        assert study_to_wait_for(instance, [], 10) is None


def test_labels_that_still_come_are_waited_for(lake: Lake) -> None:
    row = {"image_id": "late", "revision_id": "r", "sequence": 9, "key": "k", "created_at": datetime.now(UTC)}
    lake.append("annotations", [row], "late")
    with dg.DagsterInstance.ephemeral() as instance:
        skip = tick(lake, instance)
        assert isinstance(skip, dg.SkipReason)
        assert "more may follow" in (skip.skip_message or "")
