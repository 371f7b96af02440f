"""Which runs are under way, and which ended by themselves: what the sensors ask before they request another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import dagster as dg
from dagster._core.events import RunFailureReason
from dagster._core.storage.tags import RUN_FAILURE_REASON_TAG, WILL_RETRY_TAG

ACTIVE = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]
# Of a run that ended because something else did: it, or its worker, was killed, or Dagster was ended around it. The
# work itself did not fail, so that it is no attempt. Dagster's own reason says as much, except of a killed worker.
INTERRUPTED_TAG = "carsdepo/interrupted"
INTERRUPTED = "true"
# How far Dagster's daemon has come among failed runs: its own key, which a test compares.
RETRY_CURSOR = f"EVENT_LOG_CONSUMER_CURSOR-{dg.DagsterEventType.RUN_FAILURE.value}"
_OWN_FAULTS = {
    RunFailureReason.STEP_FAILURE.value,
    RunFailureReason.RUN_EXCEPTION.value,
    RunFailureReason.JOB_INITIALIZATION_FAILURE.value,
}


@dataclass(frozen=True)
class Attempts:
    """runs: all that were started for a piece of work. interrupted: those of them that a kill ended."""

    runs: int
    interrupted: int

    def counted(self, max_interruptions: int) -> int:
        """Attempts that count against a limit. Interruptions are forgiven up to max_interruptions, so that work which
        brings the machine down each time does not do so for ever."""
        return self.runs - min(self.interrupted, max_interruptions)


def under_way(instance: dg.DagsterInstance, job: str, tags: Mapping[str, str] | None = None) -> bool:
    """Whether a run of the job (with these tags) is queued or runs."""
    return bool(instance.get_runs(dg.RunsFilter(job_name=job, tags=dict(tags or {}), statuses=ACTIVE), limit=1))


def attempts(instance: dg.DagsterInstance, job: str | None, tags: Mapping[str, str]) -> Attempts:
    """The runs of the job (None: of any) with these tags. A run key that is to be new rests on `runs`."""
    return count(instance.get_runs(dg.RunsFilter(job_name=job, tags=dict(tags))))


def count(runs: Sequence[dg.DagsterRun]) -> Attempts:
    return Attempts(len(runs), sum(was_interrupted(run) for run in runs))


def attempts_by(
    instance: dg.DagsterInstance, job: str, tags: Mapping[str, str], tag: str
) -> dict[str | None, Attempts]:
    """The runs of the job with these tags, by the value of another tag; None: those without it."""
    groups: dict[str | None, list[dg.DagsterRun]] = {}
    for run in instance.get_runs(dg.RunsFilter(job_name=job, tags=dict(tags))):
        groups.setdefault(run.tags.get(tag), []).append(run)
    return {value: count(runs) for value, runs in groups.items()}


def next_run(instance: dg.DagsterInstance, job: str, tags: Mapping[str, str], max_interruptions: int) -> int | None:
    """The number, from 1, of the run to start for work that has these tags; None when it is not to be started.

    One is started when there was none, and after one that was interrupted and that Dagster will not retry; not while
    one is under way, nor after one that succeeded, was canceled by a person or failed by itself.
    """
    runs = instance.get_runs(dg.RunsFilter(job_name=job, tags=dict(tags)))  # newest first
    if not runs:
        return 1
    newest = runs[0]
    again = was_interrupted(newest) and not _dagster_retries(instance, newest)
    return len(runs) + 1 if again and count(runs).interrupted <= max_interruptions else None


def _dagster_retries(instance: dg.DagsterInstance, failed: dg.DagsterRun) -> bool:
    """Whether Dagster is still to retry a failed run that has no retry yet.

    Its daemon looks once at each failure, and passes it by for ever where it cannot reach the code server at that
    moment; only then does it write down how far in the event log it has come.
    """
    if failed.tags.get(WILL_RETRY_TAG) != "true":
        return False
    looked_at = instance.daemon_cursor_storage.get_cursor_values({RETRY_CURSOR}).get(RETRY_CURSOR)
    if looked_at is None:  # its daemon has not run yet
        return True
    to_come = instance.event_log_storage.get_logs_for_all_runs_by_log_id(
        after_cursor=int(looked_at), dagster_event_type={dg.DagsterEventType.RUN_FAILURE}
    )
    return any(entry.run_id == failed.run_id for entry in to_come.values())


def was_interrupted(run: dg.DagsterRun) -> bool:
    """Whether a failed run was ended from outside: it is marked so, or Dagster gives no fault of its own as the reason.

    A run that a person canceled is none of these.
    """
    if run.status != dg.DagsterRunStatus.FAILURE:
        return False
    return INTERRUPTED_TAG in run.tags or run.tags.get(RUN_FAILURE_REASON_TAG) not in _OWN_FAULTS


def failed_by_itself(run: dg.DagsterRun) -> bool:
    """Whether a run failed, and not because it was ended from outside."""
    return run.status == dg.DagsterRunStatus.FAILURE and not was_interrupted(run)
