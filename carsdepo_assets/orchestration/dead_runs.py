"""Settles Dagster runs whose process was killed: nobody else reports them, nor gives back what they held.

A dead run can leave behind a status and processes of its steps (`fail_orphaned_runs` settles these), slots of a pool
and places in its queue (`free_pool_slots`), and an open MLflow run (`MlflowTracking.reconcile`). File locks end with
their process; a sensor's interrupted tick and a backfill are resumed by Dagster's daemon.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import dagster as dg
from dagster import DagsterInstance, DagsterRunStatus, RunsFilter
from dagster._core.storage.dagster_run import RunRecord

from carsdepo_assets.orchestration.process_tree import end_tree
from carsdepo_assets.orchestration.run_processes import all_runs_are_here, run_processes, run_worker, runs_elsewhere
from carsdepo_assets.orchestration.run_states import INTERRUPTED, INTERRUPTED_TAG, was_interrupted

_UNFINISHED = [
    DagsterRunStatus.NOT_STARTED,
    DagsterRunStatus.STARTING,
    DagsterRunStatus.STARTED,
    DagsterRunStatus.CANCELING,
]
# After a restart the daemon resumes the ticks that were interrupted and submits the runs that these had created. A run
# that is older than the restart and that no process took up is given up only after this time.
RESUME_S = 60.0
_RECENT_FAILURES = 50  # failed runs that one look examines, newest first
_STEP_GRACE_S = 10.0


@dataclass(frozen=True)
class Settled:
    """What one call has settled."""

    failed: list[str]
    """Ids of the runs that were reported as failed or canceled, as their process was dead."""
    freed: list[str]
    """Ids of the runs whose pool slots were given back."""


def settle_dead_runs(
    instance: DagsterInstance, *, served_since: float | None = None, commands_locked: bool = False
) -> Settled:
    """Reports dead runs and frees what they held.

    Every part is decided by the stored state, so that the next call finishes what a kill interrupted. See
    `fail_orphaned_runs` for the arguments.
    """
    failed = fail_orphaned_runs(instance, served_since=served_since, commands_locked=commands_locked)
    _tag_interrupted(instance)
    return Settled(failed, free_pool_slots(instance))


def fail_orphaned_runs(
    instance: DagsterInstance, *, served_since: float | None = None, commands_locked: bool = False
) -> list[str]:
    """Reports runs whose process is dead as failed, or as canceled where that was asked; ends their steps' processes.

    Runs of another machine and queued runs are left alone. So are runs that name no process, except those that
    nobody can take up any more.

    Args:
        instance: whose runs are looked at.
        served_since: when the code server that launches runs now was started, in Unix seconds; older runs without
            a process are given up.
        commands_locked: whether the caller holds the lock under which commands run jobs, so that runs that a
            command had begun can be given up.

    Returns:
        The ids of the runs that were reported.
    """
    if not all_runs_are_here(instance):
        return []
    ended = []
    for record in instance.get_run_records(RunsFilter(statuses=_UNFINISHED)):
        run = record.dagster_run
        if runs_elsewhere(run):
            continue
        worker = run_worker(instance, run.run_id)
        if worker is None:
            if not _abandoned(record, served_since, commands_locked):
                continue
            why = "No process took it up: what was to start it was killed."
        elif worker.alive():
            continue
        else:
            why = f"Its process {worker.pid} died without reporting its end (it was killed, or the machine went down)."
        # The run may have ended meanwhile: its newest status counts.
        now = instance.get_run_by_id(run.run_id)
        if now is None or now.is_finished or (worker is None and now.status != run.status):
            continue
        for process in run_processes(instance, run.run_id):
            if process.step is not None and process.alive():
                end_tree(process.pid, grace_s=_STEP_GRACE_S)
        if now.status == DagsterRunStatus.CANCELING:
            instance.report_run_canceled(now, message=why)
        else:
            instance.add_run_tags(run.run_id, {INTERRUPTED_TAG: INTERRUPTED})  # before: who counts failures sees both
            instance.report_run_failed(now, message=why)
        ended.append(run.run_id)
    return ended


def free_pool_slots(instance: DagsterInstance) -> list[str]:
    """Gives back the pool slots, and the places in a pool's queue, of runs that are over or no longer exist.

    Dagster's code server reports a killed run as failed and leaves its slots claimed.

    Returns:
        The ids of those runs.
    """
    storage = instance.event_log_storage
    if not storage.supports_global_concurrency_limits:
        return []
    holders = set(storage.get_concurrency_run_ids())
    for pool in storage.get_concurrency_keys():
        holders |= {slot.run_id for slot in storage.get_concurrency_info(pool).claimed_slots}
    freed = []
    for run_id in sorted(holders):
        run = instance.get_run_by_id(run_id)
        if run is None or run.is_finished:
            storage.free_concurrency_slots_for_run(run_id)
            freed.append(run_id)
    return freed


def _abandoned(record: RunRecord, served_since: float | None, commands_locked: bool) -> bool:
    if commands_locked and record.dagster_run.remote_job_origin is None:
        return True
    if served_since is None:
        return False
    return record.update_timestamp.timestamp() < served_since < time.time() - RESUME_S


def _tag_interrupted(instance: DagsterInstance) -> None:
    """Marks runs that others reported as failed though no step of theirs failed: killed, or ended with Dagster."""
    for run in instance.get_runs(RunsFilter(statuses=[dg.DagsterRunStatus.FAILURE]), limit=_RECENT_FAILURES):
        if INTERRUPTED_TAG not in run.tags and was_interrupted(run):
            instance.add_run_tags(run.run_id, {INTERRUPTED_TAG: INTERRUPTED})
