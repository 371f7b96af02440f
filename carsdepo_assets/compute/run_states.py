"""Which runs are under way, and which ended by themselves: what the sensors ask before they request another."""

from __future__ import annotations

from collections.abc import Mapping
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
# work itself did not fail, so that it is no attempt.
INTERRUPTED_TAG = "carsdepo/interrupted"
INTERRUPTED = "true"
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
    interrupted = {**tags, INTERRUPTED_TAG: INTERRUPTED}
    return Attempts(
        instance.get_runs_count(dg.RunsFilter(job_name=job, tags=dict(tags))),
        instance.get_runs_count(dg.RunsFilter(job_name=job, tags=interrupted)),
    )


def attempts_by(
    instance: dg.DagsterInstance, job: str, tags: Mapping[str, str], tag: str
) -> dict[str | None, Attempts]:
    """The runs of the job with these tags, by the value of another tag; None: those without it."""
    counts: dict[str | None, Attempts] = {}
    for run in instance.get_runs(dg.RunsFilter(job_name=job, tags=dict(tags))):
        before = counts.get(run.tags.get(tag), Attempts(0, 0))
        counts[run.tags.get(tag)] = Attempts(before.runs + 1, before.interrupted + (INTERRUPTED_TAG in run.tags))
    return counts


def next_run(instance: dg.DagsterInstance, job: str, tags: Mapping[str, str], max_interruptions: int) -> int | None:
    """The number, from 1, of the run to start for work that has these tags; None when it is not to be started.

    One is started when there was none, and after one that was interrupted and that Dagster does not retry; not while
    one is under way, nor after one that succeeded, was canceled by a person or failed by itself.
    """
    runs = instance.get_runs(dg.RunsFilter(job_name=job, tags=dict(tags)))  # newest first
    if not runs:
        return 1
    interrupted = sum(INTERRUPTED_TAG in run.tags for run in runs)
    newest = runs[0]
    over = newest.status == dg.DagsterRunStatus.FAILURE and newest.tags.get(WILL_RETRY_TAG) != "true"
    if over and INTERRUPTED_TAG in newest.tags and interrupted <= max_interruptions:
        return len(runs) + 1
    return None


def was_interrupted(run: dg.DagsterRun) -> bool:
    """Whether a failed run was ended from outside: Dagster then gives no fault of the run's own as the reason."""
    return run.status == dg.DagsterRunStatus.FAILURE and run.tags.get(RUN_FAILURE_REASON_TAG) not in _OWN_FAULTS


def failed_by_itself(run: dg.DagsterRun) -> bool:
    """Whether a run failed and was not known to be ended from outside."""
    return run.status == dg.DagsterRunStatus.FAILURE and INTERRUPTED_TAG not in run.tags
