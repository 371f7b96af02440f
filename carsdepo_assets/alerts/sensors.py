"""Sensors that tell people: of failed runs, and of services that don't serve what the ledger says."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import dagster as dg
from dagster._core.storage.tags import WILL_RETRY_TAG

from carsdepo_assets.alerts.resources import AlertsResource
from carsdepo_assets.resources import LakeResource, NoService, PolicyResource, ServicesResource


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
    return found or [(None, _why_it_never_ran(context) or context.failure_event.message or "no message")]


def _why_it_never_ran(context: dg.RunFailureSensorContext) -> str | None:
    """What Dagster's own engine noted last of such a run: its last event only says that someone else ended it."""
    noted = context.instance.all_logs(context.dagster_run.run_id, of_type=dg.DagsterEventType.ENGINE_EVENT)
    for entry in reversed(noted):
        event = entry.dagster_event
        if event is not None and (error := event.engine_event_data.error) is not None:
            return f"{event.message or ''} {error.message}".strip()
    return None


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
