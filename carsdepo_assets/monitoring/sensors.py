"""Sensors of the monitoring step: drift reports, what follows from them, and the quality of answers with labels."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any

import dagster as dg

from carsdepo_assets.monitoring.jobs import (
    DRIFT_JOB,
    PROFILE_JOB,
    QUALITY_JOB,
    ROUTE_JOB,
    drift_job,
    profile_job,
    quality_job,
    route_job,
)
from carsdepo_assets.orchestration.attempts import Pause, attempts
from carsdepo_assets.orchestration.partitions import is_answer_day
from carsdepo_assets.orchestration.report_runs import runs_of_reports
from carsdepo_assets.orchestration.run_states import under_way
from carsdepo_assets.resources import LakeResource, PolicyResource

CUT_QUEUE_JOB = "cut_queue"  # of the step experiments
DRIFT_TAG = "carsdepo/drift"  # of a run that a drift report asked for: the report's id
ROUTE_TAG = "carsdepo/unrouted_reports"  # of a run of route_drift: a digest of the ids of the reports that it is for
PAUSE = Pause(after_failures=3, seconds=600.0)  # of the jobs that measure drift and route reports
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
    """Requests a drift report where `window_to_measure` says so, with the profiles of its days."""

    from carsdepo_assets.monitoring.drift_schedule import drift_schedule_inputs, window_to_measure

    monitoring = policy.read().monitoring
    inputs = drift_schedule_inputs(lake.open(), monitoring, datetime.now(UTC).replace(microsecond=0))
    decision = window_to_measure(inputs, monitoring)
    if decision.action is None:
        return dg.SkipReason(decision.message)
    if under_way(context.instance, DRIFT_JOB):
        return dg.SkipReason("A drift report is being made.")
    resting = _resting(context.instance, DRIFT_JOB)
    if resting:
        return dg.SkipReason(resting)
    start, end = (at.isoformat() for at in decision.action)
    measure: dict[str, Any] = {"ops": {"drift_report": {"config": {"from_time": start, "to_time": end}}}}
    profiles = [
        dg.RunRequest(run_key=f"{day}:{answers}", job_name=PROFILE_JOB, partition_key=day.isoformat())
        for day, answers in [(day, answers) for day, answers in inputs.days if is_answer_day(day)][-REQUESTS_A_TICK:]
    ]
    request = dg.RunRequest(run_key=f"drift:{start}:{end}", job_name=DRIFT_JOB, run_config=measure)
    return dg.SensorResult(run_requests=[*profiles, request])


@dg.sensor(
    job=route_job,
    minimum_interval_seconds=15,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Asks for a run of `drift_route` as long as a drift report has no route; after a run that was killed, "
    "for another one.",
)
def drift_router(context: dg.SensorEvaluationContext, lake: LakeResource) -> dg.RunRequest | dg.SkipReason:
    """Requests a run of `drift_route` for the reports without a route."""

    from carsdepo_assets.monitoring.routing import unrouted_reports

    report_ids = [report["report_id"] for report in unrouted_reports(lake.open())]
    if not report_ids:
        return dg.SkipReason("Every drift report has its route.")
    if under_way(context.instance, ROUTE_JOB):
        return dg.SkipReason("A run of route_drift is under way.")
    resting = _resting(context.instance, ROUTE_JOB)
    if resting:
        return dg.SkipReason(resting)
    state = hashlib.sha256("\n".join(map(str, report_ids)).encode()).hexdigest()[:16]
    number = attempts(context.instance, ROUTE_JOB, {ROUTE_TAG: state}).next_number
    return dg.RunRequest(run_key=f"route:{state}:{number}", tags={ROUTE_TAG: state})


@dg.sensor(
    job_name=CUT_QUEUE_JOB,
    minimum_interval_seconds=15,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Asks for the labelling queue, and with it the experiment, of each drift report whose route says so, "
    "until the queue is there.",
)
def cut_drift_queues(
    context: dg.SensorEvaluationContext, lake: LakeResource, policy: PolicyResource
) -> dg.SensorResult | dg.SkipReason:
    """Requests the labelling queues that routes ask for and that are not there yet."""

    from carsdepo_assets.monitoring.drift_queues import queues_to_cut

    # Decided by the routes that are stored: what a kill left undone is asked for again. A cut that failed is finished
    # by its own retries.
    runs = runs_of_reports(
        context.instance,
        CUT_QUEUE_JOB,
        DRIFT_TAG,
        work="queue",
        asset="labelling_queue",
        report_ids=queues_to_cut(lake.open(), datetime.now(UTC)),
        max_interruptions=policy.read().runs.max_interruptions,
    )
    requests = list(islice(runs, REQUESTS_A_TICK))
    if requests:
        return dg.SensorResult(run_requests=requests)
    return dg.SkipReason("Every labelling queue that a drift report asked for is cut, or its run is under way.")


@dg.sensor(
    job=quality_job,
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Days whose answers have got labels since they were last scored.",
)
def measure_quality(context: dg.SensorEvaluationContext, lake: LakeResource) -> dg.SensorResult | dg.SkipReason:
    """Requests `live_quality` for each day whose labels have changed since it was last requested."""

    from carsdepo_assets.monitoring.live_quality import labelled_days

    if under_way(context.instance, QUALITY_JOB):
        return dg.SkipReason("Answers are being scored.")
    states = labelled_days(lake.open(), (datetime.now(UTC) - timedelta(days=QUALITY_DAYS)).date())
    asked_states = _state(context.cursor)
    changed = {
        day.isoformat(): state
        for day, state in states.items()
        if is_answer_day(day) and asked_states.get(day.isoformat()) != state
    }
    if not changed:
        return dg.SkipReason("No label of an answered photograph is newer than its day's figures.")
    chosen = dict(sorted(changed.items())[-REQUESTS_A_TICK:])
    requests = [dg.RunRequest(run_key=f"{day}:{state}", partition_key=day) for day, state in chosen.items()]
    kept = {day.isoformat(): asked_states[day.isoformat()] for day in states if day.isoformat() in asked_states}
    return dg.SensorResult(run_requests=requests, cursor=_text(kept | chosen))


def _state(cursor: str | None) -> dict[str, str]:
    """{day: state of its labels when it was last asked for}; empty for a cursor of another form."""
    try:
        states = json.loads(cursor or "{}")
    except ValueError:
        return {}
    return {str(k): str(v) for k, v in states.items()} if isinstance(states, dict) else {}


def _text(state: dict[str, str]) -> str:
    return json.dumps(state, sort_keys=True)


def _resting(instance: dg.DagsterInstance, job: str) -> str | None:
    """Why no run of the job is started now, after failed ones; None when one may be started."""
    if not PAUSE.holds(instance, job, datetime.now(UTC)):
        return None
    return f"The last {PAUSE.after_failures} runs of {job} failed: see them. The next comes later."
