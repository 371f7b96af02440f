"""compute/pipes/ecs_job.py: the run's process dies, is cancelled, or cannot reach ECS, while the task goes on."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from botocore.config import Config

from carsdepo_assets.compute.pipes.ecs_record import RecordStore
from carsdepo_assets_tests.compute.ecs_tests import BUCKET, Account, account, facts, failure, logged, meanwhile
from deploy.emulators.ecs_on_moto import error

pytestmark = pytest.mark.slow


@pytest.fixture
def aws(tmp_path: Path) -> Iterator[Account]:
    with account(tmp_path) as made:
        yield made


def run_apart(aws: Account, does: str, ended: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-W", "ignore", "-m", "carsdepo_assets_tests.compute.ecs_run", does, str(ended)],
        env={**os.environ, **aws.ecs.variables, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def test_a_run_whose_process_was_killed_is_taken_up_and_the_work_happens_once(aws: Account, tmp_path: Path) -> None:
    first = run_apart(aws, "wait to be let go on", tmp_path / "ended")
    aws.wait_for_mark("checkpoint", seconds=60)
    first.kill()
    first.wait()
    aws.mark("go-on")
    result = aws.run("wait to be let go on")
    assert facts(result)["resumed"] is False
    assert len(aws.ecs.tasks()) == 1
    assert aws.started() == 1
    assert "taking" in logged(aws, result)


def test_a_cancelled_run_stops_its_task(aws: Account, tmp_path: Path) -> None:
    run = run_apart(aws, "hang", tmp_path / "ended")
    aws.wait_for_mark("checkpoint", seconds=60)
    run.send_signal(signal.SIGTERM)
    run.wait(30)
    [task] = aws.ecs.tasks()
    assert (task.status, task.exit_code, task.stop_code) == ("STOPPED", 143, "UserInitiated")
    assert task.stopped_reason == "The Dagster run was ended."
    assert (tmp_path / "ended").read_text() == "DagsterExecutionInterruptedError"


def test_a_run_cancelled_before_a_machine_came_stops_its_task(aws: Account, tmp_path: Path) -> None:
    aws.ecs.runner.stuck_providers = {"FARGATE_SPOT"}
    run = run_apart(aws, "hang", tmp_path / "ended")
    task = aws.first_task(seconds=60)
    assert task.status == "PROVISIONING"
    run.send_signal(signal.SIGTERM)
    run.wait(30)
    assert (task.status, task.started, task.stop_code) == ("STOPPED", None, "UserInitiated")
    assert aws.started() == 0


def test_a_task_that_ended_while_nobody_watched_is_read_to_its_end(aws: Account) -> None:
    first = facts(aws.run("report"))
    forget_the_end(aws)
    again = aws.run("report")
    assert facts(again)["job_page"] == first["job_page"]
    assert "ended while nobody watched it: taking its report" in logged(aws, again)
    assert aws.started() == 1


def test_a_task_that_was_started_but_not_recorded_is_found_by_its_tag(aws: Account) -> None:
    def lose_the_record() -> None:
        aws.wait_for_mark("checkpoint")
        aws.ecs.client("s3").delete_object(Bucket=BUCKET, Key="pipes/job-1/tasks.json")
        aws.ecs.answer("describe_tasks", error("AccessDeniedException", "no"))

    thread = meanwhile(lose_the_record)
    assert "Could not watch ECS job job-1" in failure(aws.run("wait to be let go on"))
    thread.join()
    aws.mark("go-on")
    assert facts(aws.run("wait to be let go on"))["resumed"] is False
    assert aws.started() == 1


def test_a_lost_answer_to_run_task_starts_one_task(aws: Account) -> None:
    aws.ecs.lost_answers.append("run_task")
    facts(aws.run("report"))
    assert aws.ecs.count("run_task") == 2
    assert len(aws.ecs.tasks()) == 1


def test_a_failed_job_starts_again_when_it_is_asked_for_again(aws: Account) -> None:
    failure(aws.run("fail"))
    facts(aws.run("report"))
    assert len(aws.ecs.tasks()) == 2
    assert len({r["clientToken"] for name, r in aws.ecs.calls if name == "run_task"}) == 2


def test_a_job_that_failed_unwatched_starts_again_and_its_old_messages_do_not_count(aws: Account) -> None:
    failure(aws.run("report, then fail"))
    forget_the_end(aws)
    result = aws.run("report")
    facts(result)
    assert "had ended: exit code 3. Starting again." in logged(aws, result)
    assert len(aws.ecs.tasks()) == 2


def test_a_job_whose_report_was_taken_starts_again(aws: Account) -> None:
    facts(aws.run("report"))
    facts(aws.run("report"))
    assert len(aws.ecs.tasks()) == 2


def test_a_failure_of_polling_passes(aws: Account) -> None:
    aws.ecs.answer("describe_tasks", error("ServerException", "Service Unavailable"), times=4)
    result = aws.run("report")
    facts(result)
    assert len(aws.ecs.tasks()) == 1
    assert "Could not watch ECS job job-1" in logged(aws, result)
    assert "AWS had a fault of its own (ServerException: Service Unavailable)" in logged(aws, result)
    assert "AWS answers again, at try 5: watch ECS job job-1" in logged(aws, result)


def test_credentials_that_expire_while_it_runs_lose_no_task(aws: Account) -> None:
    def expire() -> None:
        aws.wait_for_mark("checkpoint")
        aws.ecs.expired_keys.add("STEP")

    thread = meanwhile(expire)
    text = failure(aws.run("wait to be let go on"))
    thread.join()
    assert "The AWS credentials have expired (ExpiredTokenException" in text
    assert "The task goes on; a re-execution of this run takes it up" in text
    [task] = aws.ecs.tasks()
    assert task.status == "RUNNING"
    aws.mark("go-on")
    facts(aws.run("wait to be let go on", key="RENEWED"))
    assert aws.started() == 1


def test_credentials_that_are_renewed_in_time_are_no_failure(aws: Account) -> None:
    def expire_and_renew() -> None:
        aws.wait_for_mark("checkpoint")
        aws.ecs.expired_keys.add("STEP")
        asked = aws.ecs.count("describe_tasks")
        while aws.ecs.count("describe_tasks") < asked + 2:
            aws.pause()
        aws.ecs.expired_keys.clear()
        aws.mark("go-on")

    thread = meanwhile(expire_and_renew)
    facts(aws.run("wait to be let go on"))
    thread.join()


def test_credentials_that_a_new_session_has_are_taken_while_the_job_goes_on(aws: Account) -> None:
    keys: list[str] = []

    class Session:
        def __init__(self) -> None:
            keys.append("RENEWED" if "STEP" in aws.ecs.expired_keys else "STEP")

        def client(self, service: str, config: Config) -> Any:
            return aws.ecs.client(service, keys[-1], config=config)

    def expire() -> None:
        aws.wait_for_mark("checkpoint")
        aws.ecs.expired_keys.add("STEP")
        while "RENEWED" not in keys:
            aws.pause()
        aws.mark("go-on")

    thread = meanwhile(expire)
    facts(aws.run("wait to be let go on", session=Session))
    thread.join()
    assert keys == ["STEP", "RENEWED"]
    assert aws.started() == 1


def test_a_clock_that_is_wrong_is_named_and_starts_nothing(aws: Account) -> None:
    aws.ecs.clock_ahead = timedelta(hours=1)
    text = failure(aws.run("report"))
    assert "This machine's clock differs from AWS's: AWS has" in text
    assert "UTC (InvalidSignatureException: Signature expired" in text
    assert "Set the clock by NTP" in text
    assert not aws.ecs.tasks()


def forget_the_end(aws: Account) -> None:
    """As if the run's process had died before the end."""
    store = RecordStore(aws.ecs.client("s3"), BUCKET, "pipes/job-1")
    record = store.read()
    record.tasks[-1].over = None
    store.write(record)


def test_a_record_that_cannot_be_read_starts_nothing_and_says_what_to_do(aws: Account) -> None:
    for body in (b"", b"[]", b'{"tasks": [{"colour": 1}]}', b'{"tasks": 1}', b"\xff"):
        aws.ecs.client("s3").put_object(Bucket=BUCKET, Key="pipes/job-1/tasks.json", Body=body)
        text = failure(aws.run("report"))
        assert "s3://jobs/pipes/job-1/tasks.json is no record of a job's tasks" in text
        assert "--started-by job-1" in text
        assert "delete s3://jobs/pipes/job-1/" in text
    assert not aws.ecs.tasks()


def test_a_report_that_cannot_be_used_fails_the_job_and_the_next_try_starts_anew(aws: Account) -> None:
    lines = [
        {"__dagster_pipes_version": "0.1", "method": method, "params": parameters}
        for method, parameters in [("opened", {}), ("report_asset_materialization", {"asset_key": 5}), ("closed", {})]
    ]
    body = "\n".join(map(json.dumps, lines)).encode()
    aws.ecs.client("s3").put_object(Bucket=BUCKET, Key="pipes/job-1/1/messages/a/1.json", Body=body)
    assert "what it reported cannot be used (TypeError" in failure(aws.run("report nothing"))
    facts(aws.run("report"))
    assert len(aws.ecs.tasks()) == 2
