"""Sensors that measure drift when enough was answered, act on each report once, and score answers that got labels."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg

from carsdepo_assets.alerts.resources import AlertsResource
from carsdepo_assets.orchestration.run_states import failed_by_itself, next_run, under_way
from carsdepo_assets.resources import LakeResource, PolicyResource

DRIFT_JOB, PROFILE_JOB, QUALITY_JOB, CUT_QUEUE_JOB = "drift", "profile_answers", "score_answers", "cut_queue"
DRIFT_TAG = "carsdepo/drift"  # of a run that a drift report asked for: the report's id
drift_job = dg.define_asset_job(
    DRIFT_JOB,
    selection=["reference_profile", "drift_report"],
    description="The reference of the model that serves, where it is missing, and a drift report.",
)
profile_job = dg.define_asset_job(
    PROFILE_JOB,
    selection=["inference_profile"],
    tags={"dagster/max_retries": "2"},
    description="The whylogs profile of a day's answers.",
)
quality_job = dg.define_asset_job(
    QUALITY_JOB,
    selection=["live_quality"],
    tags={"dagster/max_retries": "2"},
    description="A day's answers against the labels that have come since.",
)
# So many failed runs in a row, and the next one waits.
FAILURES, REST_S = 3, 600.0
QUALITY_DAYS = 60  # how far back labels are looked for
REQUESTS_A_TICK = 20


@dg.sensor(
    jobs=[drift_job, profile_job],
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="A drift report when production has answered something new and enough for a window, at most one in "
    "policy.monitoring.measure_every_s; and the profiles of the days that it covers.",
)
def measure_drift(
    context: dg.SensorEvaluationContext, lake: LakeResource, policy: PolicyResource
) -> dg.SensorResult | dg.SkipReason:
    from carsdepo_assets.monitoring.drift_schedule import drift_schedule_inputs, window_to_measure

    rules = policy.read().monitoring
    found = drift_schedule_inputs(lake.open(), rules, datetime.now(UTC).replace(microsecond=0))
    answer = window_to_measure(found, rules)
    if isinstance(answer, str):
        return dg.SkipReason(answer)
    if under_way(context.instance, DRIFT_JOB):
        return dg.SkipReason("A drift report is being made.")
    resting = _resting(context.instance, DRIFT_JOB)
    if resting:
        return dg.SkipReason(resting)
    start, end = (at.isoformat() for at in answer)
    measure: dict[str, Any] = {"ops": {"drift_report": {"config": {"from_time": start, "to_time": end}}}}
    profiles = [
        dg.RunRequest(run_key=f"{day}:{answers}", job_name=PROFILE_JOB, partition_key=day.isoformat())
        for day, answers in found.days[-REQUESTS_A_TICK:]
    ]
    request = dg.RunRequest(run_key=f"drift:{start}:{end}", job_name=DRIFT_JOB, run_config=measure)
    return dg.SensorResult(run_requests=[*profiles, request])


@dg.sensor(
    job_name=CUT_QUEUE_JOB,
    minimum_interval_seconds=15,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Acts on each drift report once, oldest first: nothing, a labelling queue, a retraining (which "
    "`retrain` starts when it reads the route), a hold on promotion, an alert; as policy.monitoring's bands say.",
)
def drift_router(
    context: dg.SensorEvaluationContext, lake: LakeResource, policy: PolicyResource, alerts: AlertsResource
) -> dg.SensorResult | dg.SkipReason:
    from carsdepo_assets.monitoring import routing

    opened, rules, now = lake.open(), policy.read(), datetime.now(UTC)

    def alert(key: str, severity: str, title: str, body: str) -> bool:
        return alerts.send(opened, rules, kind="drift", key=key, severity=severity, title=title, body=body)  # type: ignore[arg-type]

    said = [
        f"{report['report_id']}: {routing.route(opened, report, rules, alert, now, lake.address).said}"
        for report in routing.waiting(opened)[:REQUESTS_A_TICK]
    ]
    for line in said:
        context.log.info(line)
    # From the routes that stand, not from this tick's: what a kill left undone is asked for again. A cut that failed is
    # finished by its own retries.
    numbered = (
        (report_id, next_run(context.instance, CUT_QUEUE_JOB, {DRIFT_TAG: report_id}, rules.runs.max_interruptions))
        for report_id in routing.queues_asked_for(opened, now)
    )
    requests = [
        dg.RunRequest(
            run_key=f"queue:{report_id}" if number == 1 else f"queue:{report_id}:{number}",
            run_config={"ops": {"labelling_queue": {"config": {"report_id": report_id}}}},
            tags={DRIFT_TAG: report_id},
        )
        for report_id, number in numbered
        if number is not None
    ][:REQUESTS_A_TICK]
    if requests:
        return dg.SensorResult(run_requests=requests)
    return dg.SkipReason(" ".join(said) or "Every drift report has its route.")


@dg.sensor(
    job=quality_job,
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Days whose answers have got labels since they were last scored.",
)
def measure_quality(context: dg.SensorEvaluationContext, lake: LakeResource) -> dg.SensorResult | dg.SkipReason:
    from carsdepo_assets.monitoring.live_quality import labelled_days

    if under_way(context.instance, QUALITY_JOB):
        return dg.SkipReason("Answers are being scored.")
    found = labelled_days(lake.open(), (datetime.now(UTC) - timedelta(days=QUALITY_DAYS)).date())
    known = _state(context.cursor)
    changed = {day.isoformat(): state for day, state in found.items() if known.get(day.isoformat()) != state}
    if not changed:
        return dg.SkipReason("No label of an answered photograph is newer than its day's figures.")
    chosen = dict(sorted(changed.items())[-REQUESTS_A_TICK:])
    requests = [dg.RunRequest(run_key=f"{day}:{state}", partition_key=day) for day, state in chosen.items()]
    kept = {day.isoformat(): known[day.isoformat()] for day in found if day.isoformat() in known}
    return dg.SensorResult(run_requests=requests, cursor=_text(kept | chosen))


def _state(cursor: str | None) -> dict[str, str]:
    """{day: state of its labels when it was last asked for}; empty for a cursor of another form."""
    try:
        said = json.loads(cursor or "{}")
    except ValueError:
        return {}
    return {str(k): str(v) for k, v in said.items()} if isinstance(said, dict) else {}


def _text(state: dict[str, str]) -> str:
    return json.dumps(state, sort_keys=True)


def _resting(instance: dg.DagsterInstance, job: str) -> str | None:
    """Why no run is started now: the last ones failed; a broken report must not start a run every tick."""
    last = instance.get_run_records(dg.RunsFilter(job_name=job), limit=FAILURES)
    failed = [r for r in last if failed_by_itself(r.dagster_run)]
    if len(failed) < FAILURES:
        return None
    age = (datetime.now(UTC) - failed[0].create_timestamp).total_seconds()
    return f"The last {FAILURES} runs of {job} failed: see them. The next comes later." if age < REST_S else None
