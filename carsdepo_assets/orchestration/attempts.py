"""How often a piece of work is tried again, and when: the rules that every sensor follows before it requests a run.

A run that was ended from outside (killed, or the machine went down) is no failed attempt of its work, so that it is
started again, up to a limit; a run that failed by itself is not, except where the sensor states a limit or a pause.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import dagster as dg
from dagster._core.storage.tags import WILL_RETRY_TAG

from carsdepo_assets.orchestration.run_states import failed_by_itself, was_interrupted

# Of a job whose runs Dagster itself starts again: a run whose process died is reported as failed by the sensor
# `settle_runs`, and the retry finishes its work.
RETRY_TAGS = {"dagster/max_retries": "2"}
# Of a job that enters a person's decision: a second run would enter it again, and roll back once more.
ONCE_TAGS = {"dagster/max_retries": "0"}
# How far Dagster's daemon has come among failed runs: its own key, which a test compares.
RETRY_CURSOR = f"EVENT_LOG_CONSUMER_CURSOR-{dg.DagsterEventType.RUN_FAILURE.value}"
_VALUES_AT_ONCE = 200  # of a tag, in one question to Dagster's database


@dataclass(frozen=True)
class Attempts:
    """The runs that were started for a piece of work."""

    runs: int
    """All of them, whatever came of them."""
    interrupted: int
    """Those of them that were ended from outside."""

    @property
    def next_number(self) -> int:
        """The number of the next run, from 1. Dagster starts one run for a run key, so that a new key needs it."""
        return self.runs + 1

    def counted(self, max_interruptions: int) -> int:
        """The runs that count against a limit: all but the first `max_interruptions` interrupted ones.

        Interruptions are not forgiven without end, as the work itself may bring the machine down each time.
        """
        return self.runs - min(self.interrupted, max_interruptions)


@dataclass(frozen=True)
class Pause:
    """How long a job rests after failed runs in a row, so that broken work does not start a run at every tick."""

    after_failures: int
    """So many runs in a row that failed by themselves begin the pause."""
    seconds: float
    """Its length, from the creation of the newest of them."""

    def holds(
        self, instance: dg.DagsterInstance, job: str, now: datetime, tags: Mapping[str, str] | None = None
    ) -> bool:
        """Whether the job rests now.

        Args:
            instance: whose runs are looked at.
            job: the job's name.
            now: the present, with a time zone.
            tags: only runs with these tags are looked at, such as those of one partition.
        """
        last = instance.get_run_records(dg.RunsFilter(job_name=job, tags=dict(tags or {})), limit=self.after_failures)
        failed = [record for record in last if failed_by_itself(record.dagster_run)]
        if len(failed) < self.after_failures:
            return False
        return (now - failed[0].create_timestamp).total_seconds() < self.seconds


def attempts(instance: dg.DagsterInstance, job: str | None, tags: Mapping[str, str]) -> Attempts:
    """Counts the runs of a job with some tags.

    Args:
        instance: whose runs are counted.
        job: the job's name; None counts runs of any job.
        tags: the tags that name the work; a run has to have all of them.
    """
    return _count(instance.get_runs(dg.RunsFilter(job_name=job, tags=dict(tags))))


def attempts_by(
    instance: dg.DagsterInstance, job: str, tags: Mapping[str, str], tag: str
) -> dict[str | None, Attempts]:
    """Counts the runs of a job with some tags by the value of one more tag.

    Args:
        instance: whose runs are counted.
        job: the job's name.
        tags: the tags that a run has to have.
        tag: the name of the tag by whose value the runs are counted.

    Returns:
        The attempts by the tag's value; None is the key of the runs without that tag.
    """
    groups: dict[str | None, list[dg.DagsterRun]] = {}
    for run in instance.get_runs(dg.RunsFilter(job_name=job, tags=dict(tags))):
        groups.setdefault(run.tags.get(tag), []).append(run)
    return {value: _count(runs) for value, runs in groups.items()}


def next_run(instance: dg.DagsterInstance, job: str, tags: Mapping[str, str], max_interruptions: int) -> int | None:
    """The number, from 1, of the run to start for work that is to be done once; None when none is to be started.

    A run is started when there was none, and after one that was interrupted and that Dagster will not retry; not while
    one is under way, nor after one that succeeded, was canceled by a person or failed by itself.

    Args:
        instance: whose runs are looked at.
        job: the job's name.
        tags: the tags that name the work.
        max_interruptions: after more interrupted runs than this none is started any more.
    """
    runs = instance.get_runs(dg.RunsFilter(job_name=job, tags=dict(tags)))  # newest first
    return _next_number(instance, runs, max_interruptions)


def next_runs(
    instance: dg.DagsterInstance, job: str, tag: str, values: Sequence[str], max_interruptions: int
) -> Iterator[tuple[str, int]]:
    """The same for many pieces of work of a job that one tag names: one question for many of them.

    Args:
        instance: whose runs are looked at.
        job: the job's name.
        tag: the name of the tag.
        values: its value for each piece of work.
        max_interruptions: see `next_run`.

    Returns:
        (value, number of its next run) of the work for which a run is to be started, in the order of `values`. What is
        not asked for is not looked at.
    """
    for start in range(0, len(values), _VALUES_AT_ONCE):
        part = values[start : start + _VALUES_AT_ONCE]
        runs: dict[str, list[dg.DagsterRun]] = {}
        for run in instance.get_runs(dg.RunsFilter(job_name=job, tags={tag: list(part)})):  # newest first
            runs.setdefault(run.tags[tag], []).append(run)
        for value in part:
            number = _next_number(instance, runs.get(value, []), max_interruptions)
            if number is not None:
                yield value, number


def _next_number(instance: dg.DagsterInstance, runs: Sequence[dg.DagsterRun], max_interruptions: int) -> int | None:
    """The number of the run to start after these, newest first; None when none is to be started."""
    if not runs:
        return 1
    newest = runs[0]
    again = was_interrupted(newest) and not _dagster_retries(instance, newest)
    return len(runs) + 1 if again and _count(runs).interrupted <= max_interruptions else None


def numbered_key(key: str, number: int) -> str:
    """The run key of the run with this number: the first has the bare key of its work."""
    return key if number == 1 else f"{key}:{number}"


def _count(runs: Sequence[dg.DagsterRun]) -> Attempts:
    return Attempts(len(runs), sum(was_interrupted(run) for run in runs))


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
