"""compute/pipes/ecs_job.py: machines that are not there or are taken back, and refusals of RunTask."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from carsdepo_assets_tests.compute.ecs_tests import QUICK, Account, account, facts, failure, logged, meanwhile
from deploy.emulators.ecs_on_moto import NO_CAPACITY, error, failures

pytestmark = pytest.mark.slow


@pytest.fixture
def aws(tmp_path: Path) -> Iterator[Account]:
    with account(tmp_path) as made:
        yield made


def providers_asked(aws: Account) -> list[str]:
    return [r["capacityProviderStrategy"][0]["capacityProvider"] for name, r in aws.ecs.calls if name == "run_task"]


def test_a_job_whose_machine_is_taken_back_goes_on_from_its_checkpoint(aws: Account) -> None:
    def interrupt() -> None:
        aws.wait_for_mark("checkpoint")
        aws.ecs.interrupt(aws.first_task())

    thread = meanwhile(interrupt)
    result = aws.run("be interrupted once")
    thread.join()
    told = facts(result)
    assert told["resumed"] is True
    assert told["interruptions"] == 1
    assert told["capacity_provider"] == "FARGATE"
    assert told["capacity"] == "on-demand"
    assert told["money"] == pytest.approx(0.6 + 1.2)  # a minute of each
    assert providers_asked(aws) == ["FARGATE_SPOT", "FARGATE"]
    assert "going on from the checkpoint" in logged(aws, result)


def test_a_job_whose_machine_is_taken_back_after_its_report_counts_its_second_report_only(aws: Account) -> None:
    def interrupt() -> None:
        aws.wait_for_mark("checkpoint")
        aws.ecs.interrupt(aws.first_task())

    thread = meanwhile(interrupt)
    result = aws.run("report, then be interrupted once")
    thread.join()
    told = facts(result)  # one materialization
    assert told["resumed"] is True
    assert told["interruptions"] == 1
    assert "1 reports came again, of which the last counts" in logged(aws, result)


def test_a_job_that_is_interrupted_ever_again_fails_at_last(aws: Account) -> None:
    def interrupt() -> None:
        for number in range(QUICK.interruptions + 1):
            while len(aws.ecs.tasks()) <= number:
                aws.pause()
            task = aws.ecs.tasks()[number]
            aws.ecs.runner.wait(task, "RUNNING")
            aws.ecs.interrupt(task)

    thread = meanwhile(interrupt)
    text = failure(aws.run("hang"))
    thread.join()
    assert "AWS took the machine back (SpotInterruption: Your Spot Task was interrupted.)" in text
    assert "3 times" in text


@pytest.mark.slow
def test_without_spot_capacity_the_job_runs_on_demand(aws: Account) -> None:
    aws.ecs.without_capacity = {"FARGATE_SPOT"}
    result = aws.run("report")
    assert facts(result)["capacity_provider"] == "FARGATE"
    assert providers_asked(aws) == ["FARGATE_SPOT", "FARGATE"]
    assert f"There is no capacity with capacity provider FARGATE_SPOT (spot) ({NO_CAPACITY}" in logged(aws, result)


def test_without_any_capacity_all_providers_are_asked_again_and_named(aws: Account) -> None:
    aws.ecs.without_capacity = {"FARGATE_SPOT", "FARGATE"}
    text = failure(aws.run("report"))
    assert "could not be started in 4 attempts" in text
    assert "FARGATE_SPOT (spot): Capacity is unavailable" in text
    assert "FARGATE (on-demand): Capacity is unavailable" in text
    assert len(providers_asked(aws)) == 8


@pytest.mark.slow
def test_a_task_for_which_no_machine_comes_gives_way_to_the_next_provider(aws: Account) -> None:
    aws.ecs.runner.stuck_providers = {"FARGATE_SPOT"}
    result = aws.run("report", limits=replace(QUICK, provisioning_s=0.3))
    assert facts(result)["capacity_provider"] == "FARGATE"
    assert "no machine came within" in logged(aws, result)
    assert aws.started() == 1


@pytest.mark.slow
def test_a_machine_too_small_for_the_task_is_no_capacity(aws: Account) -> None:
    aws.ecs.answer("run_task", failures("RESOURCE:GPU"))
    assert facts(aws.run("report"))["capacity_provider"] == "FARGATE"


@pytest.mark.slow
def test_failures_without_a_task_are_tried_again(aws: Account) -> None:
    aws.ecs.answer("run_task", failures("AGENT"), times=2)
    facts(aws.run("report"))
    assert aws.ecs.count("run_task") == 3
    tokens = {r["clientToken"] for name, r in aws.ecs.calls if name == "run_task"}
    assert len(tokens) == 3  # AWS repeats its answer to a request that it knows


def test_failures_that_last_are_named_at_the_end(aws: Account) -> None:
    aws.ecs.answer("run_task", failures("AGENT", "AGENT"), times=QUICK.starts)
    text = failure(aws.run("report"))
    assert "could not be started in 4 attempts" in text
    assert "AGENT train; AGENT train" in text


def test_failures_that_asking_again_does_not_mend_are_named_at_once(aws: Account) -> None:
    aws.ecs.answer("run_task", failures("ATTRIBUTE"))
    assert "ECS RunTask started no task: ATTRIBUTE train." in failure(aws.run("report"))
    assert aws.ecs.count("run_task") == 1


def test_throttling_passes(aws: Account) -> None:
    aws.ecs.answer("run_task", error("ThrottlingException", "Rate exceeded"), times=12)  # boto3 itself tries 5 times
    aws.ecs.answer("describe_tasks", error("ThrottlingException", "Rate exceeded"), times=12)
    facts(aws.run("report", limits=replace(QUICK, starts=20)))
    tokens = {r["clientToken"] for name, r in aws.ecs.calls if name == "run_task"}
    assert len(tokens) == 1  # one request, repeated: it starts one task
    assert len(aws.ecs.tasks()) == 1


def test_throttling_that_lasts_is_named(aws: Account) -> None:
    aws.ecs.answer("run_task", error("ThrottlingException", "Rate exceeded"), times=60)
    text = failure(aws.run("report", limits=replace(QUICK, starts=2)))
    assert "could not be started in 2 attempts" in text
    assert "AWS was asked too often (ThrottlingException: Rate exceeded)" in text


def test_a_role_that_may_not_start_tasks_is_named(aws: Account) -> None:
    aws.ecs.answer("run_task", error("AccessDeniedException", "not authorized to perform: iam:PassRole"))
    text = failure(aws.run("report"))
    assert "The role may not do this (AccessDeniedException: not authorized to perform: iam:PassRole)" in text
    assert aws.ecs.count("run_task") == 1


def test_ecs_is_asked_less_and_less_while_nothing_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    from carsdepo_assets.compute.pipes import ecs_calls

    slept: list[float] = []
    monkeypatch.setattr(ecs_calls.time, "sleep", slept.append)
    limits = ecs_calls.TaskLimits()
    pause = ecs_calls.PollPause(limits.poll_s, limits.poll_most_s)
    for _ in range(8):
        pause.sleep()
    assert slept[0] == 5.0
    assert slept == sorted(slept)
    assert slept[-1] == 30.0
