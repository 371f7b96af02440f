"""Runs the graph's own jobs from the shell: the same assets, recorded in the same Dagster instance as the UI's."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from carsdepo_assets.settings import Settings

if TYPE_CHECKING:
    import dagster as dg

    from carsdepo_assets.data.batches import Kind


class PipelineError(RuntimeError):
    """A run failed; the message says which step, why, and where its log is."""


class Pipeline:
    """The graph over one installation's state. Use as `with Pipeline.open(settings) as pipeline`."""

    def __init__(self, settings: Settings, instance: dg.DagsterInstance) -> None:
        from carsdepo_assets.definitions import defs

        self.settings = settings
        self.instance = instance
        self.definitions = defs()

    @classmethod
    @contextmanager
    def open(cls, settings: Settings) -> Iterator[Pipeline]:
        """Opens the instance of settings.home. Raises PipelineError when another command is at work on it."""
        import warnings

        import dagster as dg

        os.environ.update(settings.variables())
        # Dagster's own Pipes session warns that Dagster's own reader is in preview.
        warnings.filterwarnings("ignore", message=".*PipesMessageReader.expected_writer_count")
        settings.home.mkdir(parents=True, exist_ok=True)
        lock = FileLock(settings.home / ".command.lock", timeout=0)
        try:
            lock.acquire()
        except Timeout:
            raise PipelineError(
                f"Another carsdepo command is at work on {settings.home}: wait for it, or use "
                "another folder with --home."
            ) from None
        try:
            with dg.DagsterInstance.from_config(str(settings.dagster_home())) as instance:
                pipeline = cls(settings, instance)
                pipeline.settle()
                yield pipeline
        finally:
            lock.release()

    def settle(self) -> None:
        """Reports runs whose process died, and gives their MLflow runs the same end."""
        from carsdepo_assets.compute.orphans import fail_orphaned_runs
        from carsdepo_assets.environments import resources

        fail_orphaned_runs(self.instance)
        resources(self.settings)["tracking"].reconcile(self.instance)

    def run(
        self,
        job: str,
        *,
        partition: str | None = None,
        ops: dict[str, Any] | None = None,
        tags: dict[str, str] | None = None,
    ) -> dg.ExecuteInProcessResult:
        """One run of a job in this process. Raises PipelineError naming the failed step."""
        import dagster as dg

        result = self.definitions.resolve_job_def(job).execute_in_process(
            instance=self.instance,
            partition_key=partition,
            tags=tags,
            raise_on_error=False,
            run_config={"ops": ops or {}, "loggers": {"console": {"config": {"log_level": "ERROR"}}}},
        )
        if not result.success:
            raise PipelineError(_why(result, job, dg))
        return result

    def ingest(self, kind: Kind, *, close_all: bool = True) -> list[str]:
        """Closes what is due in raw/ and ingests every batch that has not been ingested; returns the batch ids."""
        from carsdepo_assets.data.batches import list_batches, plan_batches
        from carsdepo_assets.lake.lake import Lake

        lake = Lake.open(self.settings.lake)
        plan_batches(lake, kind, self.settings.policy(), datetime.now(UTC), close_all=close_all)
        asset, partitions = ("processed_images", "upload_batch") if kind == "uploads" else ("labels", "label_batch")
        import dagster as dg

        done = self.instance.get_materialized_partitions(dg.AssetKey(asset))
        waiting = [batch for batch in list_batches(lake, kind) if batch not in done]
        for batch in waiting:
            self.instance.add_dynamic_partitions(partitions, [batch])
            self.run(f"ingest_{kind}", partition=batch)
        return waiting


def _why(result: dg.ExecuteInProcessResult, job: str, dg: Any) -> str:
    failures = [e for e in result.all_events if e.event_type == dg.DagsterEventType.STEP_FAILURE]
    for event in failures:
        data = event.step_failure_data
        if data.user_failure_data and data.user_failure_data.description:
            return f"{job}: step {event.step_key} failed: {data.user_failure_data.description} (run {result.run_id})"
        if data.error:
            root = data.error.cause or data.error
            return f"{job}: step {event.step_key} failed: {root.message.strip()} (run {result.run_id})"
    return f"{job}: run {result.run_id} failed; `carsdepo dev` shows its log."
