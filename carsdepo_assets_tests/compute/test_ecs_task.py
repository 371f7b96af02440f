"""compute/pipes/ecs_task.py against emulated tasks, which are processes: how one ends, and what the step says."""

import json
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from carsdepo_assets.compute.pipes.ecs_record import RecordStore
from carsdepo_assets_tests.compute.ecs_tests import (
    BUCKET,
    Account,
    account,
    define,
    facts,
    failure,
    logged,
    meanwhile,
    task_params,
)

pytestmark = pytest.mark.slow


@pytest.fixture
def aws(tmp_path: Path) -> Iterator[Account]:
    with account(tmp_path) as made:
        yield made


def test_a_report_becomes_the_materialization_with_where_it_ran(aws: Account) -> None:
    told = facts(aws.run("report"))
    assert told["capacity_provider"] == "FARGATE_SPOT"
    assert told["capacity"] == "spot"
    assert told["interruptions"] == 0
    assert told["billable_seconds"] == 60.0
    assert told["money"] == pytest.approx(0.6)
    assert "/clusters/c/tasks/" in told["job_page"]
    [task] = aws.ecs.tasks()
    assert task.request["startedBy"] == "job-1"
    assert {"key": "dagster/pipes-job", "value": "job-1"} in task.request["tags"]


def test_the_workers_error_is_the_failure(aws: Account) -> None:
    text = failure(aws.run("fail"))
    assert "exit code 1" in text
    assert "ValueError: the worker's own words" in text


@pytest.mark.parametrize(
    ("does", "says"),
    [
        ("report, then fail", "exit code 3"),
        ("report nothing", "it reported no materialization"),
        ("leave open", "it did not close its channel"),
    ],
)
def test_anything_less_is_a_failure(does: str, says: str, aws: Account) -> None:
    assert says in failure(aws.run(does))


def test_a_container_without_an_exit_code_is_a_failure(aws: Account) -> None:
    def lose_it() -> None:
        aws.first_task().keeps_exit_code = False

    thread = meanwhile(lose_it)
    text = failure(aws.run("report"))
    thread.join()
    assert "its container worker has no exit code" in text
    assert "CannotInspectContainerError" in text


def test_a_container_that_ran_out_of_memory_says_so(aws: Account) -> None:
    def kill() -> None:
        aws.wait_for_mark("checkpoint")
        aws.ecs.runner.kill_for_memory(aws.first_task())

    thread = meanwhile(kill)
    text = failure(aws.run("hang"))
    thread.join()
    assert "it ran out of memory (exit code 137" in text
    assert "give the task more memory" in text


def test_an_image_that_cannot_be_pulled_is_named_with_what_to_check(aws: Account) -> None:
    define(aws.ecs.client("ecs"), image="worker:2", family="train")
    text = failure(aws.run("report"))
    assert "it did not start: CannotPullContainerError: pull image manifest: worker:2: not found" in text
    assert "execution role may pull it" in text
    assert aws.started() == 0


def test_a_job_that_runs_too_long_is_stopped(aws: Account) -> None:
    text = failure(aws.run("hang", max_runtime_s=1))
    assert "it ran longer than its limit of 1 s and was stopped" in text
    [task] = aws.ecs.tasks()
    assert task.exit_code == 143
    [override] = task.request["overrides"]["containerOverrides"]
    assert {"name": "PIPES_MAX_RUNTIME_S", "value": "1"} in override["environment"]


def test_a_task_that_somebody_stops_is_a_failure_with_the_reason(aws: Account) -> None:
    def stop() -> None:
        aws.wait_for_mark("checkpoint")
        aws.ecs.client("ecs").stop_task(cluster="c", task=aws.first_task().arn, reason="budget")

    thread = meanwhile(stop)
    text = failure(aws.run("hang"))
    thread.join()
    assert "somebody stopped it (budget)" in text


def test_a_task_that_ecs_forgets_is_a_failure(aws: Account) -> None:
    def forget() -> None:
        aws.wait_for_mark("checkpoint")
        task = aws.first_task()
        del aws.ecs.runner.tasks[task.arn]
        aws.ecs.runner.stop(task, "UserInitiated", "the test is over")

    thread = meanwhile(forget)
    text = failure(aws.run("hang"))
    thread.join()
    assert "ECS does not know its task any more" in text


def test_overrides_over_the_limit_go_by_a_file_on_s3(aws: Account) -> None:
    told = facts(aws.run("report", environment={"A_VARIABLE": "x" * 9000}))
    assert told["variable"] == "x" * 20
    [task] = aws.ecs.tasks()
    [override] = task.request["overrides"]["containerOverrides"]
    assert override["environmentFiles"] == [
        {"type": "s3", "value": f"arn:aws:s3:::{BUCKET}/pipes/job-1/1/environment.env"}
    ]


def test_a_value_of_several_lines_fits_into_no_file(aws: Account) -> None:
    text = failure(aws.run("report", environment={"A_VARIABLE": "x\n" * 4500}))
    assert "A_VARIABLE cannot move to an environment file" in text
    assert not aws.ecs.tasks()


def test_a_long_name_becomes_a_short_tag(aws: Account) -> None:
    facts(aws.run("report", job="a job/of " + "x" * 300))
    [task] = aws.ecs.tasks()
    assert len(task.request["startedBy"]) == 128
    assert len({t["key"] for t in task.request["tags"]}) == len(task.request["tags"])


def test_a_task_definition_without_the_container_starts_nothing(aws: Account) -> None:
    assert "has the containers worker, none of the name trainer" in failure(aws.run("report", container_name="trainer"))
    assert not aws.ecs.tasks()


def test_messages_that_come_twice_count_once_and_lost_lines_are_no_failure(aws: Account) -> None:
    """The second chunk is stored a second time as the third, and the log's first chunk is lost."""
    s3 = aws.ecs.client("s3")

    def spoil() -> None:
        task = aws.first_task()
        aws.ecs.runner.wait(task, "STOPPED")

    thread = meanwhile(spoil)
    told = facts(aws.run("report"))
    thread.join()
    keys = sorted(e["Key"] for e in s3.list_objects_v2(Bucket=BUCKET, Prefix="pipes/job-1/1/messages/")["Contents"])
    report = next(k for k in keys if b"report_asset" in s3.get_object(Bucket=BUCKET, Key=k)["Body"].read())
    body = s3.get_object(Bucket=BUCKET, Key=report)["Body"].read()
    folder, _, last = keys[-1].rpartition("/")
    s3.put_object(Bucket=BUCKET, Key=f"{folder}/{int(last.removesuffix('.json')) + 2}.json", Body=body)  # and a gap
    store = RecordStore(s3, BUCKET, "pipes/job-1")
    record = store.read()
    record.tasks[-1].over = None  # as if the process had died before it took the report
    store.write(record)
    again = facts(aws.run("report"))
    assert again["resumed"] == told["resumed"]
    assert len(aws.ecs.tasks()) == 1


def test_gpus_are_asked_of_the_container(aws: Account) -> None:
    from carsdepo_assets.compute.pipes.ecs_request import with_gpus

    facts(aws.run("report", params=with_gpus(task_params("report"), "worker", 1)))
    [task] = aws.ecs.tasks()
    [override] = task.request["overrides"]["containerOverrides"]
    assert override["resourceRequirements"] == [{"type": "GPU", "value": "1"}]
    assert json.loads(override["command"][0])["does"] == "report"


def test_the_log_comes_while_the_job_runs(aws: Account) -> None:
    seen: list[bool] = []

    def look() -> None:
        aws.wait_for_mark("checkpoint")
        [run] = aws.instance.get_runs()
        pause_for = 200
        while pause_for and not any("from the start" in e.user_message for e in aws.instance.all_logs(run.run_id)):
            pause_for -= 1
            aws.pause()
        seen.append(pause_for > 0 and run.status != dg.DagsterRunStatus.SUCCESS)
        aws.mark("go-on")

    thread = meanwhile(look)
    result = aws.run("wait to be let go on")
    thread.join()
    assert seen == [True]
    assert "from the start" in logged(aws, result)
