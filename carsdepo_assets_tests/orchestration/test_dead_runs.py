"""orchestration/dead_runs.py, attempts.py, run_states.py: what dead runs leave, and how it is settled."""

from __future__ import annotations

import time
from collections.abc import Iterator

import dagster as dg
import pytest
from dagster import DagsterEventType, DagsterInstance, DagsterRunStatus
from dagster._core.events import JobFailureData, RunFailureReason
from dagster._core.remote_origin import RegisteredCodeLocationOrigin, RemoteJobOrigin, RemoteRepositoryOrigin
from dagster._core.storage.dagster_run import DagsterRun
from dagster._core.utils import make_new_run_id

from carsdepo_assets.orchestration.attempts import RETRY_CURSOR, attempts, next_run
from carsdepo_assets.orchestration.dead_runs import RESUME_S, fail_orphaned_runs, settle_dead_runs
from carsdepo_assets.orchestration.run_states import INTERRUPTED, INTERRUPTED_TAG
from carsdepo_assets_tests.orchestration.dagster_run import POOL, instance_in

pytestmark = pytest.mark.slow

OWN_FAULT = {"dagster/failure_reason": "STEP_FAILURE"}


@pytest.fixture(scope="module")
def one_instance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DagsterInstance]:
    with instance_in(tmp_path_factory.mktemp("dagster")) as instance:
        yield instance


@pytest.fixture
def instance(one_instance: DagsterInstance) -> DagsterInstance:
    """Empty, with a pool of one slot."""
    one_instance.wipe()
    one_instance.event_log_storage.set_concurrency_slots(POOL, 1)
    return one_instance


def add(instance: DagsterInstance, status: DagsterRunStatus, **tags: str) -> str:
    run_id = make_new_run_id()
    location = RegisteredCodeLocationOrigin("carsdepo")
    origin = RemoteJobOrigin(RemoteRepositoryOrigin(location, "__repository__"), "train")
    of_daemon = origin if status == DagsterRunStatus.QUEUED else None
    instance.add_run(DagsterRun(job_name="train", run_id=run_id, status=status, tags=tags, remote_job_origin=of_daemon))
    return run_id


def status(instance: DagsterInstance, run_id: str) -> DagsterRunStatus:
    run = instance.get_run_by_id(run_id)
    assert run is not None
    return run.status


def claim(instance: DagsterInstance, run_id: str) -> bool:
    return instance.event_log_storage.claim_concurrency_slot(POOL, run_id, "step").is_claimed


@pytest.mark.parametrize("over", [DagsterRunStatus.FAILURE, DagsterRunStatus.CANCELED, DagsterRunStatus.SUCCESS])
def test_a_run_that_is_over_holds_no_slot(instance: DagsterInstance, over: DagsterRunStatus) -> None:
    """Dagster's code server reports a killed run itself; a kill may also come between the report and the freeing."""
    dead = add(instance, over)
    waits = add(instance, DagsterRunStatus.STARTED)
    assert claim(instance, dead)
    assert not claim(instance, waits)
    assert settle_dead_runs(instance).freed == [dead]
    assert claim(instance, waits)
    assert settle_dead_runs(instance).freed == []


def test_a_run_that_was_deleted_holds_no_slot(instance: DagsterInstance) -> None:
    gone = add(instance, DagsterRunStatus.STARTED)
    waits = add(instance, DagsterRunStatus.STARTED)
    assert claim(instance, gone)
    assert not claim(instance, waits)
    instance.run_storage.delete_run(gone)
    assert settle_dead_runs(instance).freed == [gone]
    assert claim(instance, waits)


def test_a_dead_run_in_the_queue_for_a_slot_does_not_get_it(instance: DagsterInstance) -> None:
    first, dead, last = (add(instance, DagsterRunStatus.STARTED) for _ in range(3))
    assert claim(instance, first)
    assert not claim(instance, dead)
    assert not claim(instance, last)
    run = instance.get_run_by_id(dead)
    assert run is not None
    instance.report_run_failed(run)
    assert settle_dead_runs(instance).freed == [dead]
    instance.event_log_storage.free_concurrency_slots_for_run(first)
    assert claim(instance, last)


def test_runs_under_way_keep_what_they_hold(instance: DagsterInstance) -> None:
    for state in (DagsterRunStatus.QUEUED, DagsterRunStatus.STARTED, DagsterRunStatus.CANCELING):
        run_id = add(instance, state)
        assert claim(instance, run_id)
        assert settle_dead_runs(instance).freed == []
        instance.event_log_storage.free_concurrency_slots_for_run(run_id)


@pytest.mark.parametrize("state", [DagsterRunStatus.NOT_STARTED, DagsterRunStatus.STARTING, DagsterRunStatus.STARTED])
def test_a_run_that_names_no_process_yet_is_left_alone(instance: DagsterInstance, state: DagsterRunStatus) -> None:
    run_id = add(instance, state)
    updated = instance.get_run_records(dg.RunsFilter(run_ids=[run_id]))[0].update_timestamp.timestamp()
    now = time.time()
    assert fail_orphaned_runs(instance) == []  # no one knows what may still take it up
    assert fail_orphaned_runs(instance, served_since=updated - 1) == []  # the server that is to start it lives
    assert fail_orphaned_runs(instance, served_since=now + 1) == []  # the daemon may yet resume it
    assert status(instance, run_id) == state


def test_a_run_that_no_process_took_up_before_a_restart_is_given_up(
    instance: DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed between the daemon's word that it starts and the first word of the run's own process."""
    ids = {
        state: add(instance, state)
        for state in (DagsterRunStatus.NOT_STARTED, DagsterRunStatus.STARTING, DagsterRunStatus.CANCELING)
    }
    queued = add(instance, DagsterRunStatus.QUEUED)
    restarted = time.time() + 1
    monkeypatch.setattr(time, "time", lambda: restarted + RESUME_S + 1)
    assert set(fail_orphaned_runs(instance, served_since=restarted)) == set(ids.values())
    assert status(instance, ids[DagsterRunStatus.NOT_STARTED]) == DagsterRunStatus.FAILURE
    assert status(instance, ids[DagsterRunStatus.STARTING]) == DagsterRunStatus.FAILURE
    assert status(instance, ids[DagsterRunStatus.CANCELING]) == DagsterRunStatus.CANCELED
    assert status(instance, queued) == DagsterRunStatus.QUEUED


def test_a_commands_own_run_is_given_up_by_the_next_command(instance: DagsterInstance) -> None:
    """Commands run jobs under a lock: whoever has it knows that no other command has begun one."""
    run_id = add(instance, DagsterRunStatus.NOT_STARTED)
    assert fail_orphaned_runs(instance, commands_locked=True) == [run_id]
    assert status(instance, run_id) == DagsterRunStatus.FAILURE


def fail(instance: DagsterInstance, run_id: str, reason: RunFailureReason | None) -> None:
    run = instance.get_run_by_id(run_id)
    assert run is not None
    instance.report_run_failed(run, None, JobFailureData(error=None, failure_reason=reason) if reason else None)


@pytest.mark.parametrize(
    ("reason", "counted"),
    [
        (None, 0),  # reported by the code server when its child died
        (RunFailureReason.UNEXPECTED_TERMINATION, 0),
        (RunFailureReason.STEP_FAILURE, 1),
        (RunFailureReason.RUN_EXCEPTION, 1),
    ],
)
def test_only_what_failed_by_itself_is_an_attempt(
    instance: DagsterInstance, reason: RunFailureReason | None, counted: int
) -> None:
    fail(instance, add(instance, DagsterRunStatus.STARTED, state="7"), reason)
    settle_dead_runs(instance)
    tried = attempts(instance, "train", {"state": "7"})
    assert (tried.runs, tried.counted(10)) == (1, counted)


def test_interruptions_are_not_forgiven_for_ever(instance: DagsterInstance) -> None:
    for _ in range(5):
        add(instance, DagsterRunStatus.FAILURE, state="7", **{INTERRUPTED_TAG: INTERRUPTED})
    add(instance, DagsterRunStatus.FAILURE, state="7", **OWN_FAULT)
    tried = attempts(instance, "train", {"state": "7"})
    assert [tried.counted(n) for n in (10, 5, 3, 0)] == [1, 1, 3, 6]


def test_the_next_run_of_a_piece_of_work(instance: DagsterInstance) -> None:
    def number(limit: int = 2) -> int | None:
        return next_run(instance, "train", {"batch": "a"}, limit)

    killed = {INTERRUPTED_TAG: INTERRUPTED, "dagster/will_retry": "false"}
    assert number() == 1
    queued = add(instance, DagsterRunStatus.QUEUED, batch="a")
    assert number() is None
    instance.run_storage.delete_run(queued)
    add(instance, DagsterRunStatus.FAILURE, batch="a", **killed | {"dagster/will_retry": "true"})
    assert number() is None  # Dagster's own retry comes
    add(instance, DagsterRunStatus.FAILURE, batch="a", **killed)
    assert number() == 3
    assert number(limit=1) is None  # killed too often
    add(instance, DagsterRunStatus.FAILURE, batch="a", **OWN_FAULT)
    assert number() is None  # failed by itself: people were told
    assert next_run(instance, "train", {"batch": "b"}, 2) == 1


def test_a_retry_that_dagster_lost_is_asked_for_again(instance: DagsterInstance) -> None:
    """Its daemon passes a failure by when it cannot reach the code server, which someone had killed."""
    from dagster._daemon.auto_run_reexecution.event_log_consumer import _create_cursor_key

    assert _create_cursor_key(DagsterEventType.RUN_FAILURE) == RETRY_CURSOR
    run = add(instance, DagsterRunStatus.STARTED, batch="a", **{"dagster/max_retries": "2"})
    instance.report_run_failed(instance.get_run_by_id(run))
    failed = instance.get_run_by_id(run)
    assert failed.tags["dagster/will_retry"] == "true"
    assert next_run(instance, "train", {"batch": "a"}, 2) is None  # its daemon has not looked yet
    entries = instance.event_log_storage.get_logs_for_all_runs_by_log_id(
        dagster_event_type={DagsterEventType.RUN_FAILURE}
    )
    at = next(log_id for log_id, entry in entries.items() if entry.run_id == run)
    instance.daemon_cursor_storage.set_cursor_values({RETRY_CURSOR: str(at - 1)})
    assert next_run(instance, "train", {"batch": "a"}, 2) is None
    instance.daemon_cursor_storage.set_cursor_values({RETRY_CURSOR: str(at)})
    assert next_run(instance, "train", {"batch": "a"}, 2) == 2  # it looked, and there is no retry
    add(instance, DagsterRunStatus.QUEUED, batch="a")
    assert next_run(instance, "train", {"batch": "a"}, 2) is None
