"""Runs the graph's own jobs from the shell: the same assets, recorded in the same Dagster instance as the UI's."""

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
from carsdepo_assets.settings import Settings

if TYPE_CHECKING:
    import dagster as dg

    from carsdepo_assets.data.batches import Kind


_OUR_ERROR = re.compile(r"^carsdepo_assets(\.\w+)+: ")


class PipelineError(RuntimeError):
    """A run failed; the message says which step, why, and where its log is."""


@dataclass(frozen=True)
class Tick:
    """runs: what the sensor asked for, in order; skipped: why it asked for none."""

    runs: list[dg.ExecuteInProcessResult]
    skipped: str


class Pipeline:
    """The graph over one installation's state. Use as `with Pipeline.open(settings) as pipeline`.

    console: the least level of Dagster's own lines on stderr. What fails is said once, by PipelineError, and the
    whole log is in the instance.
    """

    def __init__(self, settings: Settings, instance: dg.DagsterInstance, console: str = "CRITICAL") -> None:
        from carsdepo_assets.definitions import defs

        self.settings, self.console = settings, console
        self.instance = instance
        self.definitions = defs()

    @classmethod
    @contextmanager
    def open(cls, settings: Settings, console: str = "CRITICAL", *, alone: bool = True) -> Iterator[Pipeline]:
        """Opens the instance of settings.home. alone: raises PipelineError when another such command is at work on it.

        A person's decision (approve, reject, rollback, a larger golden set) is not `alone`: it waits for no import or
        training, since what it writes is guarded by the ledger's own lock. console: level of Dagster's lines that go
        to stderr.
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
        """Reports runs whose process died, frees what they held, and gives their MLflow runs the same end.

        alone: whether this command holds the lock of commands. Without it, a command's run that has no process yet is
        left alone: another command may be about to start it.
        """
        from carsdepo_assets.environments import resources
        from carsdepo_assets.orchestration.dead_runs import settle_dead_runs

        settle_dead_runs(self.instance, commands_locked=alone)
        resources(self.settings)["tracking"].reconcile(self.instance)

    def run(
        self,
        job: str,
        *,
        partition: str | None = None,
        ops: Mapping[str, Any] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> dg.ExecuteInProcessResult:
        """One run of a job in this process. Raises PipelineError naming the failed step."""
        import dagster as dg

        result = self.definitions.resolve_job_def(job).execute_in_process(
            instance=self.instance,
            partition_key=partition,
            tags=dict(tags or {}),
            raise_on_error=False,
            run_config={"ops": dict(ops or {}), "loggers": {"console": {"config": {"log_level": self.console}}}},
        )
        if not result.success:
            raise PipelineError(_why(result, job, dg))
        return result

    def tick(self, sensor: str) -> Tick:
        """One tick of a sensor and the runs that it asks for, here and now: what Dagster's daemon does under `dev`.

        A run key that has had its run is not run again. Raises PipelineError when a run fails, and when the sensor
        asks a service that does not answer.
        """
        import dagster as dg
        from dagster._core.storage.tags import RUN_KEY_TAG, SENSOR_NAME_TAG

        from carsdepo_assets.environments import resources
        from carsdepo_assets.resources import NoService

        definition = self.definitions.resolve_sensor_def(sensor)
        with dg.build_sensor_context(
            instance=self.instance,
            sensor_name=sensor,
            definitions=self.definitions,
            resources=resources(self.settings),
        ) as context:
            try:
                said = definition.evaluate_tick(context)
            except NoService as error:
                raise PipelineError(f"{sensor}: {error}") from error
        for added in said.dynamic_partitions_requests or []:
            if isinstance(added, dg.AddDynamicPartitionsRequest):
                self.instance.add_dynamic_partitions(added.partitions_def_name, list(added.partition_keys))
        results = []
        for request in said.run_requests or []:
            tags = dict(request.tags) | {SENSOR_NAME_TAG: sensor}
            if request.run_key is not None:
                tags[RUN_KEY_TAG] = request.run_key
                mine = dg.RunsFilter(tags={SENSOR_NAME_TAG: sensor, RUN_KEY_TAG: request.run_key})
                if self.instance.get_runs_count(mine):
                    continue
            job = str(request.job_name or definition.job_name)
            ops = dict(request.run_config or {}).get("ops")
            results.append(self.run(job, partition=request.partition_key, ops=ops, tags=tags))
        return Tick(results, said.skip_message or "")

    def ingest(
        self, kind: Kind, *, close_all: bool = True, progress: Callable[[int, int], None] | None = None
    ) -> list[str]:
        """Closes what is due in raw/ and ingests every batch that has not been ingested; returns the batch ids.

        progress: called with the batches ingested and all of them, where there is more than one.
        """
        from carsdepo_assets.data.batches import list_batches, plan_batches
        from carsdepo_assets.lake.lake import Lake

        lake = Lake.open(self.settings.lake)
        plan_batches(lake, kind, self.settings.policy(), datetime.now(UTC), close_all=close_all)
        asset, partitions = ("processed_images", "upload_batch") if kind == "uploads" else ("labels", "label_batch")
        import dagster as dg

        done = self.instance.get_materialized_partitions(dg.AssetKey(asset))
        waiting = [batch for batch in list_batches(lake, kind) if batch not in done]
        for number, batch in enumerate(waiting):
            if progress is not None and len(waiting) > 1:
                progress(number, len(waiting))
            self.instance.add_dynamic_partitions(partitions, [batch])
            self.run(f"ingest_{kind}", partition=batch)
        return waiting


@contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    """These variables while the graph runs, for its `EnvVar`s and child processes, and what there was, afterwards."""
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
    """Raises PipelineError when another command that must be alone is at work on this home."""
    lock = FileLock(home / ".command.lock", timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise PipelineError(
            f"Another carsdepo command is at work on {home}: wait for it, or use another folder with --home."
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
            return f"{job}: interrupted in step {event.step_key} (run {result.run_id}). The same command goes on."
        if data.error:
            root = data.error.cause or data.error
            # Our own errors say what to do; of any other the trace is wanted.
            said, ours = _OUR_ERROR.subn("", root.message.strip())
            trace = "" if ours else "\n" + "".join(root.stack)
            return f"{job}: step {event.step_key} failed: {said} (run {result.run_id}){trace}"
    return f"{job}: run {result.run_id} failed; `carsdepo dev` shows its log."
