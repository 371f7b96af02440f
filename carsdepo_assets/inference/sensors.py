"""The sensor that starts the ingestion of what the services captured."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from datetime import UTC, date, datetime, timedelta

import dagster as dg

from carsdepo_assets.inference.jobs import INGEST_JOB, ingest_inferences_job
from carsdepo_assets.orchestration.attempts import Pause, attempts
from carsdepo_assets.orchestration.partitions import is_answer_day
from carsdepo_assets.orchestration.run_states import under_way
from carsdepo_assets.resources import LakeResource

SEGMENTS_TAG = "carsdepo/segments"
DAY_TAG = "dagster/partition"
# Ordinary ticks look at the last days; once in FULL_LOOK_S one looks at all days, for segments that were closed late.
RECENT_DAYS = 3
FULL_LOOK_S = 600.0
# Of the runs of one day: new segments of a day that cannot be ingested must not start a run at every tick.
PAUSE = Pause(after_failures=3, seconds=300.0)
REQUESTS_A_TICK = 20


@dg.sensor(
    job=ingest_inferences_job,
    minimum_interval_seconds=15,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Starts a run for each day with closed capture segments that the table `inferences` does not hold yet. "
    "Nothing that a service captured while Dagster was down is missed.",
)
def new_inferences(context: dg.SensorEvaluationContext, lake: LakeResource) -> dg.SensorResult | dg.SkipReason:
    """Requests a run for each day that has new segments."""
    from carsdepo_assets.inference.ingest import waiting

    now = datetime.now(UTC)
    full = not context.cursor or now.timestamp() - float(context.cursor) >= FULL_LOOK_S
    recent = [now.date() - timedelta(days=n) for n in range(RECENT_DAYS)]
    segments_of_day: dict[date, list[str]] = defaultdict(list)
    for segment in waiting(lake.open(), None if full else recent):
        segments_of_day[segment.day].append(segment.key)
    if full:
        context.update_cursor(str(now.timestamp()))
    answers = [
        _request(context.instance, day, keys, now)
        if is_answer_day(day)
        else f"{len(keys)} segments are of {day}, which has no partition: the clock of a service was wrong, first "
        f"{keys[0]}."
        for day, keys in sorted(segments_of_day.items())
    ]
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
    if PAUSE.holds(instance, INGEST_JOB, now, partition):
        return (
            f"{day}: the last {PAUSE.after_failures} runs failed with {len(keys)} segments waiting; "
            "the next comes later."
        )
    state = hashlib.sha256("\n".join(sorted(keys)).encode()).hexdigest()[:16]
    tags = {SEGMENTS_TAG: state}
    # Dagster starts one run for a key: with the number in it a failed one can be repeated.
    number = attempts(instance, INGEST_JOB, {**partition, **tags}).next_number
    return dg.RunRequest(run_key=f"{day}:{state}:{number}", partition_key=day.isoformat(), tags=tags)
