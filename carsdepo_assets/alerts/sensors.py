"""Sensors that send alerts: about failed and waiting runs, events of the ledger, and services in trouble."""

from __future__ import annotations

import json
from collections.abc import Iterator, Set
from datetime import UTC, datetime

import dagster as dg
from dagster._core.storage.tags import WILL_RETRY_TAG

from carsdepo_assets.alerts.resources import AlertsResource, FiguresResource
from carsdepo_assets.alerts.waiting_runs import Holder, WaitingRun, alert_of
from carsdepo_assets.orchestration.ticks import work_was_done
from carsdepo_assets.resources import LakeResource, NoService, PolicyResource, ServicesResource

_NOT_BEGUN = [dg.DagsterRunStatus.QUEUED, dg.DagsterRunStatus.NOT_STARTED, dg.DagsterRunStatus.STARTING]
_IN_PROGRESS = [dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]


@dg.run_failure_sensor(
    minimum_interval_seconds=15,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Sends an alert for each failed run, with job, step, error and link. A run that is retried is reported "
    "only after its last try.",
)
def failed_runs(
    context: dg.RunFailureSensorContext,
    lake: LakeResource,
    policy: PolicyResource,
    alerts: AlertsResource,
    figures: FiguresResource,
) -> None:
    """Sends one alert for each failed run that is not retried, and counts it among the figures."""
    from carsdepo_assets.cloudwatch.catalogue import LOOP, RUNS_FAILED
    from carsdepo_assets.cloudwatch.emf import figure

    run = context.dagster_run
    if run.tags.get(WILL_RETRY_TAG) == "true":
        return
    figures.publish([figure(RUNS_FAILED, LOOP, 1)])  # first: it needs no lake
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
    """The failed steps of a run, each with its root error; the step is None for a run that failed without one."""
    errors: list[tuple[str | None, str]] = []
    for event in context.get_step_failure_events():
        data = event.step_failure_data
        error = data.error
        while error is not None and error.cause is not None:
            error = error.cause
        description = data.user_failure_data.description if data.user_failure_data else None
        errors.append((event.step_key, description or (error.message.strip() if error else "no message")))
    if not errors:
        parts = [context.failure_event.message or "no message", *_of_the_engine(context)]
        errors.append((None, " ".join(parts)))
    return errors


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
    description="Announces each event of the deployment ledger once: deployment to staging, promotion, rollback, "
    "approval, rejection, hold.",
)
def release_news(
    context: dg.SensorEvaluationContext, lake: LakeResource, policy: PolicyResource, alerts: AlertsResource
) -> dg.SensorResult | dg.SkipReason:
    """Sends one alert for each event of the ledger."""

    from carsdepo_assets.alerts.announcements import announcement, unannounced
    from carsdepo_assets.registry.ledger import events

    opened_lake, current_policy = lake.open(), policy.read()
    new_events = unannounced(opened_lake, events(opened_lake), datetime.now(UTC))
    titles = []
    for event in new_events:
        alert = announcement(event, lake.address)
        alerts.send(opened_lake, current_policy, **alert.fields())
        titles.append(alert.title)
    if titles:
        return work_was_done(context, "; ".join(titles))
    return dg.SkipReason("Every event of the last day has been announced.")


@dg.sensor(
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Asks each stage's service whether it serves the model that the ledger names. Sends an alert after a "
    "minute without an answer or with another model, and another one when that is over.",
)
def service_health(
    context: dg.SensorEvaluationContext,
    lake: LakeResource,
    policy: PolicyResource,
    services: ServicesResource,
    alerts: AlertsResource,
) -> dg.SensorResult | dg.SkipReason:
    """Follows each stage's health from tick to tick; the cursor keeps the troubles."""

    from carsdepo_assets.alerts.health import Trouble, follow
    from carsdepo_assets.registry.ledger import LedgerHistory, Stage

    opened_lake, current_policy = lake.open(), policy.read()
    troubles = {k: Trouble.model_validate(v) for k, v in json.loads(context.cursor or "{}").items()}
    now = datetime.now(UTC)
    lines: list[str] = []
    sent: list[str] = []
    history = LedgerHistory.read(opened_lake)
    stages: tuple[Stage, ...] = ("staging", "production")
    for stage in stages:
        wanted = history.served(stage)
        if wanted is None or wanted.digest is None:
            continue
        try:
            health = services.health(stage)
        except NoService:
            health = None
        trouble, alert = follow(stage, services.url(stage), wanted.digest, health, troubles.pop(stage, None), now)
        if trouble is not None:
            troubles[stage] = trouble
        lines.append(f"{stage}: {trouble.what if trouble else 'serves ' + wanted.digest}")
        if alert is not None and alerts.send(opened_lake, current_policy, **alert.fields()):
            sent.append(alert.title)
    cursor = json.dumps({k: v.model_dump(mode="json") for k, v in troubles.items()})
    if sent:
        return work_was_done(context, f"alerts sent: {'; '.join(sent)}. Now {'; '.join(lines)}.", cursor)
    return dg.SensorResult(cursor=cursor, skip_reason="; ".join(lines) or "The ledger names nothing to serve yet.")


@dg.sensor(
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Sends an alert for a run that waits longer than policy.alerts.run_waiting_s: which run, for what (the "
    "pool and the run that holds it, or its turn), and what to do.",
)
def waiting_runs(
    context: dg.SensorEvaluationContext, lake: LakeResource, policy: PolicyResource, alerts: AlertsResource
) -> dg.SensorResult | dg.SkipReason:
    """Sends one alert for each run that waits too long."""

    opened_lake, current_policy, now = lake.open(), policy.read(), datetime.now(UTC)
    waiting = list(waiting_now(context.instance))
    late = [
        a
        for run in waiting
        if (a := alert_of(run, now, current_policy.alerts.run_waiting_s, alerts.run_url)) is not None
    ]
    sent = [alert.title for alert in late if alerts.send(opened_lake, current_policy, **alert.fields())]
    if sent:
        return work_was_done(context, "; ".join(sent))
    return dg.SkipReason(
        f"{len(waiting)} runs wait, {len(late)} of them longer than {current_policy.alerts.run_waiting_s:g} seconds; "
        "no alert is new."
    )


def waiting_now(instance: dg.DagsterInstance) -> Iterator[WaitingRun]:
    """The runs that wait: those that have not begun, and those with a step that has no slot of its pool yet."""
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


@dg.sensor(
    minimum_interval_seconds=60,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Publishes the loop's figures to CloudWatch each minute (drift, quality, what waits, ages of models) "
    "as lines on the code server's stdout, where CARSDEPO_METRICS_NAMESPACE or an AWS account says so.",
)
def publish_figures(
    context: dg.SensorEvaluationContext, lake: LakeResource, figures: FiguresResource
) -> dg.SensorResult | dg.SkipReason:
    """Publishes all figures, and a 0 of failed runs, which the sensor failed_runs counts one by one."""
    if figures.namespace is None:
        return dg.SkipReason("No namespace of CloudWatch is set (CARSDEPO_METRICS_NAMESPACE): nothing is published.")

    from carsdepo_assets.alerts.loop_figures import loop_figures
    from carsdepo_assets.cloudwatch.catalogue import LOOP, RUNS_FAILED
    from carsdepo_assets.cloudwatch.emf import figure

    now = datetime.now(UTC)
    of_loop = loop_figures(lake.open(), list(waiting_now(context.instance)), now)
    figures.publish([*of_loop, figure(RUNS_FAILED, LOOP, 0)], now)
    return work_was_done(context, f"{len(of_loop) + 1} figures published in {figures.namespace}.")
