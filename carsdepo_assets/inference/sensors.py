"""The sensor that ingests what the services captured."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from datetime import UTC, date, datetime, timedelta

import dagster as dg

from carsdepo_assets.inference.jobs import INGEST_JOB, ingest_inferences_job
from carsdepo_assets.orchestration.run_states import failed_by_itself, under_way
from carsdepo_assets.resources import LakeResource

SEGMENTS_TAG = "carsdepo/segments"
DAY_TAG = "dagster/partition"
# Ordinary ticks look at these last days; once in FULL_LOOK_S one looks at all, for what a service closed late.
RECENT_DAYS = 3
FULL_LOOK_S = 600.0
# So many failed runs of a day in a row, and the next one waits: new segments must not start one every tick.
FAILURES, REST_S = 3, 300.0
REQUESTS_A_TICK = 20


@dg.sensor(
    job=ingest_inferences_job,
    minimum_interval_seconds=15,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Compares closed capture segments with what `inferences` holds; state, not events, so nothing that "
    "a service captured while Dagster was down is missed.",
)
def new_inferences(context: dg.SensorEvaluationContext, lake: LakeResource) -> dg.SensorResult | dg.SkipReason:
    from carsdepo_assets.inference.ingest import waiting

    now = datetime.now(UTC)
    full = not context.cursor or now.timestamp() - float(context.cursor) >= FULL_LOOK_S
    recent = [now.date() - timedelta(days=n) for n in range(RECENT_DAYS)]
    found: dict[date, list[str]] = defaultdict(list)
    for segment in waiting(lake.open(), None if full else recent):
        found[segment.day].append(segment.key)
    if full:
        context.update_cursor(str(now.timestamp()))
    answers = [_request(context.instance, day, keys, now) for day, keys in sorted(found.items())]
    requests = [a for a in answers if isinstance(a, dg.RunRequest)]
    if not requests:
        return dg.SkipReason(" ".join(map(str, answers)) or "Every closed segment is ingested.")
    if len(requests) > REQUESTS_A_TICK:  # the rest at the next tick, which must look at all days again
        context.update_cursor("")
    return dg.SensorResult(run_requests=requests[:REQUESTS_A_TICK])


def _request(instance: dg.DagsterInstance, day: date, keys: list[str], now: datetime) -> dg.RunRequest | str:
    """A run for the day, or why there is none now."""
    partition = {DAY_TAG: day.isoformat()}
    if under_way(instance, INGEST_JOB, partition):
        return f"{day} is being ingested."
    last = instance.get_run_records(dg.RunsFilter(job_name=INGEST_JOB, tags=partition), limit=FAILURES)
    failed = [r for r in last if failed_by_itself(r.dagster_run)]
    if len(failed) == FAILURES and (now - failed[0].create_timestamp).total_seconds() < REST_S:
        return f"{day}: the last {FAILURES} runs failed with {len(keys)} segments waiting; the next comes later."
    state = hashlib.sha256("\n".join(sorted(keys)).encode()).hexdigest()[:16]
    tags = {SEGMENTS_TAG: state}
    # A key starts one run for ever: the attempt in it lets a failed one be repeated.
    attempt = instance.get_runs_count(dg.RunsFilter(job_name=INGEST_JOB, tags={**partition, **tags})) + 1
    return dg.RunRequest(run_key=f"{day}:{state}:{attempt}", partition_key=day.isoformat(), tags=tags)
