"""Dagster runs that say they run although their process is dead: SIGKILL leaves no one to say so.

Only for instances on SQLite, whose runs are all processes of this machine; elsewhere the run launcher knows.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import dataclass

import dagster as dg
from dagster import DagsterEventType, DagsterInstance, DagsterRunStatus, RunsFilter

from carsdepo_assets.compute.process_tree import end_tree, same_process

HOST_TAG = "carsdepo/host"
_UNFINISHED = [DagsterRunStatus.STARTING, DagsterRunStatus.STARTED, DagsterRunStatus.CANCELING]
_PID_EVENTS = {DagsterEventType.ENGINE_EVENT, DagsterEventType.STEP_WORKER_STARTED}


@dataclass(frozen=True)
class RunProcess:
    """A process of a run: its id, the time (Unix seconds) at which it wrote that id, the step (None: the run's own)."""

    pid: int
    seen_at: float
    step: str | None

    def alive(self) -> bool:
        return same_process(self.pid, self.seen_at)


def run_processes(instance: DagsterInstance, run_id: str) -> list[RunProcess]:
    """The processes that the run's event log names, oldest first."""
    return list(_named(instance, run_id))


def run_worker(instance: DagsterInstance, run_id: str) -> RunProcess | None:
    """The process that drives the run (not those of its steps); None before it has said so."""
    own = [p for p in _named(instance, run_id) if p.step is None]
    return own[-1] if own else None


def mark_host(instance: DagsterInstance, run_id: str) -> None:
    """Says on which machine the run runs, so that no other machine takes it for dead."""
    instance.add_run_tags(run_id, {HOST_TAG: socket.gethostname()})


def fail_orphaned_runs(instance: DagsterInstance) -> list[str]:
    """Reports runs failed (canceled, where that was asked) whose process is dead; ends what their steps left running.

    Returns their ids. Runs tagged by another host, queued runs and runs that named no process yet are left alone.
    """
    if not _on_this_machine(instance):
        return []
    ended = []
    for run in instance.get_runs(RunsFilter(statuses=_UNFINISHED)):
        if run.tags.get(HOST_TAG, socket.gethostname()) != socket.gethostname():
            continue
        worker = run_worker(instance, run.run_id)
        if worker is None or worker.alive():
            continue
        # The run may have ended between the two looks: its last word counts.
        now = instance.get_run_by_id(run.run_id)
        if now is None or now.is_finished:
            continue
        for process in run_processes(instance, run.run_id):
            if process.step is not None and process.alive():
                end_tree(process.pid, grace_s=10)
        if now.status == DagsterRunStatus.CANCELING:
            instance.report_run_canceled(now, message=f"Its process {worker.pid} is gone.")
        else:
            instance.report_run_failed(
                now, message=f"Its process {worker.pid} died without a word (killed, or the machine went down)."
            )
        ended.append(run.run_id)
    return ended


def _on_this_machine(instance: DagsterInstance) -> bool:
    from dagster._core.storage.runs import SqliteRunStorage

    storage = instance.run_storage
    storage = getattr(storage, "_storage", storage)  # dagster.yaml's `storage:` section wraps the three in one
    return isinstance(getattr(storage, "run_storage", storage), SqliteRunStorage)


def _named(instance: DagsterInstance, run_id: str) -> Iterator[RunProcess]:
    for record in instance.get_records_for_run(run_id, of_type=_PID_EVENTS).records:
        event = record.event_log_entry.dagster_event
        if event is None:
            continue
        metadata = getattr(event.event_specific_data, "metadata", {})
        value = metadata.get("pid")
        if isinstance(value, dg.TextMetadataValue | dg.IntMetadataValue) and value.value is not None:
            yield RunProcess(int(value.value), record.event_log_entry.timestamp, event.step_key)
