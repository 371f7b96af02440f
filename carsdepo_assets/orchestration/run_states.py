"""Which runs are under way, which failed by themselves, and which were ended from outside."""

from __future__ import annotations

from collections.abc import Mapping

import dagster as dg
from dagster._core.events import RunFailureReason
from dagster._core.storage.tags import RUN_FAILURE_REASON_TAG

ACTIVE = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]
# The tag of a run that was ended from outside: it, or its worker, was killed, or Dagster was ended around it. The work
# itself did not fail. Dagster records such a reason by itself, except of a killed worker.
INTERRUPTED_TAG = "carsdepo/interrupted"
INTERRUPTED = "true"
_OWN_FAULTS = {
    RunFailureReason.STEP_FAILURE.value,
    RunFailureReason.RUN_EXCEPTION.value,
    RunFailureReason.JOB_INITIALIZATION_FAILURE.value,
}


def under_way(instance: dg.DagsterInstance, job: str, tags: Mapping[str, str] | None = None) -> bool:
    """Whether a run of a job is queued or runs.

    Args:
        instance: whose runs are looked at.
        job: the job's name.
        tags: only runs with these tags are looked at.
    """
    return bool(instance.get_runs(dg.RunsFilter(job_name=job, tags=dict(tags or {}), statuses=ACTIVE), limit=1))


def was_interrupted(run: dg.DagsterRun) -> bool:
    """Whether a failed run was ended from outside.

    It is marked as such, or Dagster's reason for the failure is none of the run's own. A run that a person canceled
    was not interrupted in this sense.
    """
    if run.status != dg.DagsterRunStatus.FAILURE:
        return False
    return INTERRUPTED_TAG in run.tags or run.tags.get(RUN_FAILURE_REASON_TAG) not in _OWN_FAULTS


def failed_by_itself(run: dg.DagsterRun) -> bool:
    """Whether a run failed without being ended from outside."""
    return run.status == dg.DagsterRunStatus.FAILURE and not was_interrupted(run)
