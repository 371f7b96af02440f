"""Sensors that tell people: of failed and of waiting runs, of releases, and of services that serve something else."""

from __future__ import annotations

import json
from collections.abc import Iterator, Set
from datetime import UTC, datetime

import dagster as dg
from dagster._core.storage.tags import WILL_RETRY_TAG

from carsdepo_assets.alerts.resources import AlertsResource
from carsdepo_assets.alerts.waiting_runs import Holder, WaitingRun, alert_of
from carsdepo_assets.resources import LakeResource, NoService, PolicyResource, ServicesResource

_NOT_BEGUN = [dg.DagsterRunStatus.QUEUED, dg.DagsterRunStatus.NOT_STARTED, dg.DagsterRunStatus.STARTING]
_IN_PROGRESS = [dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]


@dg.run_failure_sensor(
    minimum_interval_seconds=15,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Tells people of each failed run: job, step, error, link; of one that is tried again only at its end.",
)
def failed_runs(
    context: dg.RunFailureSensorContext, lake: LakeResource, policy: PolicyResource, alerts: AlertsResource
) -> None:
    run = context.dagster_run
    if run.tags.get(WILL_RETRY_TAG) == "true":
        return
    lines = [f"{step or 'run'}: {error}" for step, error in failures(context)]
    alerts.send(
        lake.open(),
        policy.read(),
        kind="run_failed",
        key=f"run_failed:{run.run_id}",
        severity="warning",
        title=f"Run of {run.job_name} failed",
        body="\n".join([*lines, alerts.run_url(run.run_id)]),
    )


def failures(context: dg.RunFailureSensorContext) -> list[tuple[str | None, str]]:
    """(step, the error at the root of it); step None: the run itself, where no step failed."""
    found: list[tuple[str | None, str]] = []
    for event in context.get_step_failure_events():
        data = event.step_failure_data
        error = data.error
        while error is not None and error.cause is not None:
            error = error.cause
        said = data.user_failure_data.description if data.user_failure_data else None
        found.append((event.step_key, said or (error.message.strip() if error else "no message")))
    if not found:
        words = [context.failure_event.message or "no message", *_of_the_engine(context)]
        found.append((None, " ".join(words)))
    return found


def _of_the_engine(context: dg.RunFailureSensorContext) -> list[str]:
    """The last error that Dagster itself noted of a run without a failed step, such as one that it could not start."""
    noted = context.instance.all_logs(context.dagster_run.run_id, of_type=dg.DagsterEventType.ENGINE_EVENT)
    for entry in reversed(noted):
        event = entry.dagster_event
        if event is not None and (error := event.engine_event_data.error) is not None:
            return [event.message or "", error.message.strip().partition("\n")[0]]
    return []


@dg.sensor(
    minimum_interval_seconds=15,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Tells people of each event of the deployment ledger once: deployment to staging, promotion, rollback, "
    "approval, rejection, hold.",
)
def release_news(
    context: dg.SensorEvaluationContext, lake: LakeResource, policy: PolicyResource, alerts: AlertsResource
) -> dg.SensorResult | dg.SkipReason:
    from carsdepo_assets.alerts.announcements import announcement, unannounced
    from carsdepo_assets.registry.ledger import events

    opened, current = lake.open(), policy.read()
    fresh = unannounced(opened, events(opened), datetime.now(UTC))
    titles = []
    for event in fresh:
        alert = announcement(event, lake.address)
        alerts.send(opened, current, **alert.fields())  # type: ignore[arg-type]
        titles.append(alert.title)
    return dg.SkipReason("; ".join(titles) or "Every event of the last day was told.")


@dg.sensor(
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Asks each stage's service whether it serves the digest that the ledger names; tells people after a "
    "minute of silence or of another digest, and when it is over.",
)
def service_health(
    context: dg.SensorEvaluationContext,
    lake: LakeResource,
    policy: PolicyResource,
    services: ServicesResource,
    alerts: AlertsResource,
) -> dg.SensorResult | dg.SkipReason:
    from carsdepo_assets.alerts.health import Trouble, follow
    from carsdepo_assets.registry.ledger import Stage, events, served

    opened, rules = lake.open(), policy.read()
    known = {k: Trouble.model_validate(v) for k, v in json.loads(context.cursor or "{}").items()}
    now, said = datetime.now(UTC), []
    history = events(opened)
    stages: tuple[Stage, ...] = ("staging", "production")
    for stage in stages:
        wanted = served(history, stage)
        if wanted is None or wanted.digest is None:
            continue
        try:
            health = services.health(stage)
        except NoService:
            health = None
        trouble, alert = follow(stage, services.url(stage), wanted.digest, health, known.pop(stage, None), now)
        if trouble is not None:
            known[stage] = trouble
        said.append(f"{stage}: {trouble.what if trouble else 'serves ' + wanted.digest}")
        if alert is not None:
            alerts.send(opened, rules, **alert.fields())  # type: ignore[arg-type]
    cursor = json.dumps({k: v.model_dump(mode="json") for k, v in known.items()})
    return dg.SensorResult(cursor=cursor, skip_reason="; ".join(said) or "The ledger names nothing to serve yet.")


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
