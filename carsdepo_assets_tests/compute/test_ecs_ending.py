"""compute/pipes/ecs_ending.py: what a stopped task's fields say about how it ended."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from carsdepo_assets.compute.pipes.ecs_ending import ending, lacks_capacity, lasts, paid_s, ran_s

START = datetime(2026, 1, 1, tzinfo=UTC)


def stopped(exit_code: int | None = 0, code: str = "EssentialContainerExited", why: str = "", reason: str = "") -> Any:
    worker: dict[str, Any] = {"name": "worker", "reason": reason}
    if exit_code is not None:
        worker["exitCode"] = exit_code
    sidecar = {"name": "sidecar", "exitCode": 9}
    return {"lastStatus": "STOPPED", "stopCode": code, "stoppedReason": why, "containers": [sidecar, worker]}


@pytest.mark.parametrize(
    ("task", "kind", "says"),
    [
        (stopped(0), "ended well", ""),
        (stopped(0, "SpotInterruption"), "ended well", ""),
        (stopped(1), "failed", "exit code 1"),
        (stopped(143, "SpotInterruption", "Your Spot Task was interrupted."), "interrupted", "Your Spot Task"),
        (stopped(None, "TerminationNotice", "notice"), "interrupted", "TerminationNotice: notice"),
        (stopped(None, "InfrastructureHealth", "health"), "interrupted", "InfrastructureHealth"),
        (
            stopped(None, "", "Host EC2 (instance i-1) terminated."),
            "interrupted",
            "Host EC2 (instance i-1) terminated.",
        ),
        (stopped(None, "TaskFailedToStart", "RESOURCE:GPU"), "no capacity", "RESOURCE:GPU"),
        (
            stopped(None, "TaskFailedToStart", "ResourceInitializationError: unable to pull secrets"),
            "failed",
            "the execution role may read the secrets",
        ),
        (stopped(0, "TaskFailedToStart", "CannotPullContainerError: no"), "failed", "the execution role may pull it"),
        (stopped(137, why="OutOfMemoryError: killed"), "failed", "it ran out of memory"),
        (stopped(137), "failed", "it ran out of memory, or did not end in time after SIGTERM"),
        (stopped(143, "UserInitiated", "by hand"), "failed", "somebody stopped it (by hand): it was ended by SIGTERM"),
        (stopped(None, why="why"), "failed", "has no exit code (EssentialContainerExited: why)"),
        (stopped(0) | {"containers": []}, "failed", "its container worker has no exit code"),
    ],
)
def test_only_exit_code_0_of_the_worker_ends_well(task: Any, kind: str, says: str) -> None:
    end = ending(task, "worker")
    assert end.kind == kind
    assert says in end.text


def test_without_a_name_the_only_container_counts_and_of_several_none() -> None:
    assert ending(stopped(0), None).kind == "failed"
    only = stopped(0)
    del only["containers"][0]
    assert ending(only, None).kind == "ended well"


@pytest.mark.parametrize(
    ("reason", "capacity", "for_good"),
    [
        ("RESOURCE:MEMORY", True, False),
        ("Capacity is unavailable at this time.", True, False),
        ("EMPTY CAPACITY PROVIDER", True, False),
        ("AGENT", False, False),
        ("ATTRIBUTE", False, True),
        ("MISSING", False, True),
        ("something new", False, False),
    ],
)
def test_reasons_of_run_task_are_sorted_by_what_helps(reason: str, capacity: bool, for_good: bool) -> None:
    assert (lacks_capacity(reason), lasts(reason)) == (capacity, for_good)


def test_seconds_run_from_the_start_and_are_paid_from_the_download_at_least_a_minute() -> None:
    task = {"pullStartedAt": START, "startedAt": START + timedelta(seconds=30)}
    assert ran_s(task, START + timedelta(seconds=40)) == 10
    assert ran_s(task, None) == 0
    ended = task | {"stoppedAt": START + timedelta(seconds=90)}
    assert (ran_s(ended, None), paid_s(ended)) == (60, 90)
    assert paid_s(task | {"stoppedAt": START + timedelta(seconds=35)}) == 60
    assert paid_s({"stoppedAt": START}) == 0
