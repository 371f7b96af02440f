"""The processes of a Dagster run, as its event log names them, and on which machine they run."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import dataclass

import dagster as dg
from dagster import DagsterEventType, DagsterInstance
from dagster._core.events import EngineEventData

from carsdepo_assets.orchestration.process_tree import same_process

HOST_TAG = "carsdepo/host"
_PID_EVENTS = {DagsterEventType.ENGINE_EVENT, DagsterEventType.STEP_WORKER_STARTED}


@dataclass(frozen=True)
class RunProcess:
    """A process of a Dagster run."""

    pid: int
    seen_at: float
    """When the id was written into the run's log, in Unix seconds."""
    step: str | None
    """The step that it works for; None for the process that drives the run."""

    def alive(self) -> bool:
        """Whether this very process still runs, and not another one that was given its id."""
        return same_process(self.pid, self.seen_at)


def run_processes(instance: DagsterInstance, run_id: str) -> list[RunProcess]:
    """The processes that the run's event log names, oldest first."""
    return list(_named(instance, run_id))


def run_worker(instance: DagsterInstance, run_id: str) -> RunProcess | None:
    """The process that drives a run, unlike those of its steps; None before the run's log names it."""
    own = [p for p in _named(instance, run_id) if p.step is None]
    return own[-1] if own else None


def mark_host(instance: DagsterInstance, run_id: str) -> None:
    """Tags a run with the name of this machine, so that no other machine takes it for dead."""
    instance.add_run_tags(run_id, {HOST_TAG: socket.gethostname()})


def runs_elsewhere(run: dg.DagsterRun) -> bool:
    """Whether the run is marked as another machine's."""
    return run.tags.get(HOST_TAG, socket.gethostname()) != socket.gethostname()


def name_process(instance: DagsterInstance, run: dg.DagsterRun, step: str, pid: int, what: str) -> None:
    """Writes a process of a step into the run's log, so that it can be ended even when the step cannot do so.

    Args:
        instance: the run's.
        run: the run that the step belongs to.
        step: the step's key.
        pid: the process's id.
        what: what the process is, for a person who reads the log.
    """
    instance.report_engine_event(
        f"{what} runs as process {pid}.", run, EngineEventData(metadata={"pid": dg.MetadataValue.int(pid)}), None, step
    )


def all_runs_are_here(instance: DagsterInstance) -> bool:
    """Whether every run of the instance that is not marked as another machine's is a process of this machine.

    It is so when its storage is SQLite, and on a server whose one code server starts the runs as its own processes: the
    sensors that ask this run there too.
    """
    from dagster._core.launcher import DefaultRunLauncher
    from dagster._core.storage.runs import SqliteRunStorage

    if isinstance(instance.run_launcher, DefaultRunLauncher):
        return True
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
