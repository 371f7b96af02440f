"""Runs the jobs of the graph from the shell, recorded in the same Dagster instance that the UI shows."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from carsdepo_assets.commands.instances import dagster_instance
from carsdepo_assets.commands.interruption import was_interrupted
from carsdepo_assets.settings import Settings

if TYPE_CHECKING:
    import dagster as dg

    from carsdepo_assets.data.batches.batches import Kind


_OUR_ERROR = re.compile(r"^carsdepo_assets(\.\w+)+: ")


class PipelineError(RuntimeError):
    """A run failed; the message says which step, why, and where its log is."""


@dataclass(frozen=True)
class Tick:
    """What one tick of a sensor led to."""

    runs: list[dg.ExecuteInProcessResult]
    """The runs that the sensor asked for, in order."""
    skipped: str
    """Why it asked for none; "" where it did."""


class Pipeline:
    """The graph with the state of one installation. Use it as `with Pipeline.open(settings) as pipeline`.

    Args:
        settings: The installation.
        instance: Its Dagster instance.
        console: The lowest level of Dagster's log lines that go to stderr. The whole log is in the instance.
    """

    def __init__(self, settings: Settings, instance: dg.DagsterInstance, console: str = "CRITICAL") -> None:
        from carsdepo_assets.definitions import defs

        self.settings, self.console = settings, console
        self.instance = instance
        self.definitions = defs()
        self._cursors: dict[str, str | None] = {}  # of the sensors, from one tick to the next

    @classmethod
    @contextmanager
    def open(cls, settings: Settings, console: str = "CRITICAL", *, alone: bool = True) -> Iterator[Pipeline]:
        """Opens the Dagster instance of settings.home.

        Args:
            settings: The installation.
            console: The lowest level of Dagster's log lines that go to stderr.
            alone: Whether no other such command may work on this home at the same time. A person's decision (approve,
                reject, rollback, a larger golden set) does not wait for an import or a training: what it writes is
                guarded by the ledger's own lock.

        Raises:
            PipelineError: `alone`, and another such command is working on this home; or MLflow's server is away.
        """
        import warnings

        # Dagster's own Pipes session warns that Dagster's own reader is in preview.
        warnings.filterwarnings("ignore", message=".*PipesMessageReader.expected_writer_count")
        settings.home.mkdir(parents=True, exist_ok=True)
        with ExitStack() as held:
            held.enter_context(_environment(settings.variables() | settings.secrets()))
            if alone:
                held.enter_context(_only_command(settings.home))
            with dagster_instance(settings) as instance:
                pipeline = cls(settings, instance, console)
                pipeline.settle(alone=alone)
                yield pipeline

    def settle(self, *, alone: bool) -> None:
        """Marks runs whose process died as failed, frees what they held, and ends their MLflow runs likewise.

        Args:
            alone: Whether this command holds the lock of commands. If it does not, a command's run without a process
                is left as it is, since another command may be about to start it.

        Raises:
            PipelineError: MLflow's server is away, to which every run is logged.
        """
        from carsdepo_assets.environments import resources
        from carsdepo_assets.orchestration.dead_runs import settle_dead_runs

        settle_dead_runs(self.instance, commands_locked=alone)
        tracking = resources(self.settings)["tracking"]
        if (absence := tracking.tracking().absence()) is not None:
            raise PipelineError(f"No run was started: {absence}. `carsdepo doctor` looks at it.")
        tracking.reconcile(self.instance)

    def run(
        self,
        job: str,
        *,
        partition: str | None = None,
        ops: Mapping[str, Any] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> dg.ExecuteInProcessResult:
        """Runs a job in this process.

        Args:
            job: The job's name.
            partition: The partition to run, where the job has partitions.
            ops: The configuration of its ops and assets, by their names.
            tags: Tags of the run.

        Raises:
            PipelineError: The run failed; the message names the step.
        """
        import dagster as dg

        result = self.definitions.resolve_job_def(job).execute_in_process(
            instance=self.instance,
            partition_key=partition,
            tags=dict(tags or {}),
            raise_on_error=False,
            run_config={"ops": dict(ops or {}), "loggers": {"console": {"config": {"log_level": self.console}}}},
        )
        if was_interrupted():  # in a step, which Dagster reports as failed, or between steps, where it forgets it
            raise KeyboardInterrupt
        if not result.success:
            raise PipelineError(_why(result, job, dg))
        return result

    def tick(self, sensor: str) -> Tick:
        """Evaluates a sensor once and runs what it asks for, as Dagster's daemon does under `carsdepo dev`.

        A run key that has had its run is not run again, and a sensor's cursor is kept from one tick of this pipeline to
        the next.

        Raises:
            PipelineError: A run failed, or the sensor asks a service that does not answer.
        """
        import dagster as dg
        from dagster._core.storage.tags import RUN_KEY_TAG, SENSOR_NAME_TAG

        from carsdepo_assets.environments import resources
        from carsdepo_assets.resources import NoService

        definition = self.definitions.resolve_sensor_def(sensor)
        with dg.build_sensor_context(
            instance=self.instance,
            # Without it no sensor can ask for a run of a new batch.
            instance_ref=None if self.instance.is_ephemeral else self.instance.get_ref(),
            sensor_name=sensor,
            cursor=self._cursors.get(sensor),
            definitions=self.definitions,
            resources=resources(self.settings),
        ) as context:
            try:
                result = definition.evaluate_tick(context)
            except NoService as error:
                raise PipelineError(f"{sensor}: {error}") from error
        self._cursors[sensor] = result.cursor
        for added in result.dynamic_partitions_requests or []:
            if isinstance(added, dg.AddDynamicPartitionsRequest):
                self.instance.add_dynamic_partitions(added.partitions_def_name, list(added.partition_keys))
        results = []
        for request in result.run_requests or []:
            tags = dict(request.tags) | {SENSOR_NAME_TAG: sensor}
            if request.run_key is not None:
                tags[RUN_KEY_TAG] = request.run_key
                same_key = dg.RunsFilter(tags={SENSOR_NAME_TAG: sensor, RUN_KEY_TAG: request.run_key})
                if self.instance.get_runs_count(same_key):
                    continue
            job = str(request.job_name or definition.job_name)
            ops = dict(request.run_config or {}).get("ops")
            results.append(self.run(job, partition=request.partition_key, ops=ops, tags=tags))
        return Tick(results, result.skip_message or "")

    def cursor(self, sensor: str) -> str | None:
        """What a sensor has remembered at its last tick in this pipeline; None before the first."""
        return self._cursors.get(sensor)

    def ingest(
        self, kind: Kind, *, close_all: bool = True, progress: Callable[[int, int], None] | None = None
    ) -> list[str]:
        """Closes the batches of raw/ and ingests those that have not been ingested.

        Args:
            kind: "uploads" or "labels".
            close_all: Close batches that are not full or old enough, too.
            progress: Called with the number of batches behind and of all, where there is more than one.

        Returns:
            The ids of the ingested batches.
        """
        from carsdepo_assets.data.batches.batches import open_batches, plan_batches
        from carsdepo_assets.lake.lake import Lake

        lake = Lake.open(self.settings.lake)
        plan_batches(lake, kind, self.settings.policy(), datetime.now(UTC), close_all=close_all)
        partitions = "upload_batch" if kind == "uploads" else "label_batch"
        waiting = open_batches(lake, kind)
        for number, batch in enumerate(waiting):
            if progress is not None and len(waiting) > 1:
                progress(number, len(waiting))
            self.instance.add_dynamic_partitions(partitions, [batch])
            self.run(f"ingest_{kind}", partition=batch)
        return waiting


@contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Sets variables for a block, for the graph's `EnvVar`s and child processes; afterwards they are as before."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextmanager
def _only_command(home: Path) -> Iterator[None]:
    """Holds the lock of commands for a block; PipelineError where another command has it."""
    lock = FileLock(home / ".command.lock", timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise PipelineError(
            f"Another carsdepo command is working on {home}: wait for it, or use another folder with --home."
        ) from None
    try:
        yield
    finally:
        lock.release()


def _why(result: dg.ExecuteInProcessResult, job: str, dg: Any) -> str:
    failures = [e for e in result.all_events if e.event_type == dg.DagsterEventType.STEP_FAILURE]
    for event in failures:
        data = event.step_failure_data
        if data.user_failure_data and data.user_failure_data.description:
            return f"{job}: step {event.step_key} failed: {data.user_failure_data.description} (run {result.run_id})"
        if data.error and data.error.cls_name == "DagsterExecutionInterruptedError":
            return f"{job}: interrupted in step {event.step_key} (run {result.run_id}). Repeat the command to continue."
        if data.error:
            root = data.error.cause or data.error
            # Our own errors say what to do; of any other the trace is wanted.
            message, is_ours = _OUR_ERROR.subn("", root.message.strip())
            trace = "" if is_ours else "\n" + "".join(root.stack)
            return f"{job}: step {event.step_key} failed: {message} (run {result.run_id}){trace}"
    return f"{job}: run {result.run_id} failed; `carsdepo dev` shows its log."
