"""The sensor that tells people of runs which wait for too long: in the queue, to be started, or for a pool."""

from __future__ import annotations

from collections.abc import Iterator, Set
from datetime import UTC, datetime

import dagster as dg

from carsdepo_assets.alerts.resources import AlertsResource
from carsdepo_assets.alerts.waiting_runs import Holder, WaitingRun, alert_of
from carsdepo_assets.resources import LakeResource, PolicyResource

_NOT_BEGUN = [dg.DagsterRunStatus.QUEUED, dg.DagsterRunStatus.NOT_STARTED, dg.DagsterRunStatus.STARTING]
_IN_PROGRESS = [dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]


@dg.sensor(
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Tells people of a run that waits longer than policy.alerts.run_waiting_s: which run, for what (the "
    "pool and the run that holds it, or its turn), and what to do.",
)
def waiting_runs(
    context: dg.SensorEvaluationContext, lake: LakeResource, policy: PolicyResource, alerts: AlertsResource
) -> dg.SkipReason:
    store, limits, now = lake.open(), policy.read(), datetime.now(UTC)
    waiting = list(waiting_now(context.instance))
    late = [a for run in waiting if (a := alert_of(run, now, limits.alerts.run_waiting_s, alerts.run_url)) is not None]
    for alert in late:
        alerts.send(store, limits, **alert.fields())  # type: ignore[arg-type]
    return dg.SkipReason(
        f"{len(waiting)} runs wait, {len(late)} of them longer than {limits.alerts.run_waiting_s:g} seconds."
    )


def waiting_now(instance: dg.DagsterInstance) -> Iterator[WaitingRun]:
    """The runs that wait: those that have not begun, and those of which a step has no slot of its pool yet."""
    queue = instance.get_concurrency_config().run_queue_config
    places = queue.max_concurrent_runs if queue is not None and queue.max_concurrent_runs != -1 else None
    running = instance.get_runs(dg.RunsFilter(statuses=_IN_PROGRESS))
    turns = tuple(Holder(run.run_id, run.job_name, run.status.value) for run in running)
    for record in instance.get_run_records(dg.RunsFilter(statuses=_NOT_BEGUN)):
        run = record.dagster_run
        pool, holders = _full_root_pool(instance, run)
        others = tuple(h for h in (holders or turns) if h.run_id != run.run_id)
        yield WaitingRun(run.run_id, run.job_name, record.create_timestamp, pool, None, others, places)
    storage = instance.event_log_storage
    if not storage.supports_global_concurrency_limits:
        return
    for pool in sorted(storage.get_concurrency_keys()):
        info = storage.get_concurrency_info(pool)
        for step in info.pending_steps:
            waiting = instance.get_run_by_id(step.run_id)
            if step.assigned_timestamp is not None or waiting is None or waiting.is_finished:
                continue
            holders = _holders(instance, info.active_run_ids | info.assigned_run_ids)
            yield WaitingRun(
                step.run_id, waiting.job_name, step.enqueued_timestamp, pool, step.step_key, holders, places
            )


def _full_root_pool(instance: dg.DagsterInstance, run: dg.DagsterRun) -> tuple[str | None, tuple[Holder, ...]]:
    """The pool for which Dagster keeps a run in the queue, and who has it: all its first steps need full pools."""
    needs = run.run_op_concurrency
    if needs is None or needs.has_unconstrained_root_nodes or not needs.root_key_counts:
        return None, ()
    for pool in sorted(needs.root_key_counts):
        info = instance.event_log_storage.get_concurrency_info(pool)
        taken = info.active_run_ids | info.assigned_run_ids
        if len(info.pending_steps) < info.slot_count and len(taken) < info.slot_count:
            return None, ()
    return pool, _holders(instance, taken)


def _holders(instance: dg.DagsterInstance, run_ids: Set[str]) -> tuple[Holder, ...]:
    holders = []
    for run_id in sorted(run_ids):
        run = instance.get_run_by_id(run_id)
        holders.append(Holder(run_id, run.job_name if run else None, run.status.value if run else None))
    return tuple(holders)
