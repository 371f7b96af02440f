"""When a drift report is due: a function of what was answered and reported, not of what just happened."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import pyarrow as pa
import pyarrow.compute as pc

from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.monitoring.window import STAGE
from carsdepo_assets.policy import MonitoringPolicy


@dataclass(frozen=True)
class DriftScheduleInputs:
    """new: answers of production since the end of the last report's window (all, before the first); oldest_new: the
    first of them. in_window: answers of the model that answered last in the last policy.window_hours.
    reported_at: when the last report was made; None before the first. days: of new, with the answers of each day."""

    now: datetime
    new: int
    oldest_new: datetime | None
    in_window: int
    reported_at: datetime | None
    days: tuple[tuple[date, int], ...] = ()


def drift_schedule_inputs(lake: Lake, policy: MonitoringPolicy, now: datetime) -> DriftScheduleInputs:
    answers = lake.read("inferences", columns=["at", "stage", "digest"])
    answers = answers.filter(pc.equal(answers["stage"], STAGE)).sort_by("at")
    reports = lake.read("drift", columns=["at", "window_to"])
    last, reported = pc.max(reports["window_to"]).as_py(), pc.max(reports["at"]).as_py()
    new = answers if last is None else answers.filter(pc.greater_equal(answers["at"], pa.scalar(last)))
    if not new.num_rows:
        return DriftScheduleInputs(now, 0, None, 0, reported)
    recent = answers.filter(
        pc.and_(
            pc.greater_equal(answers["at"], pa.scalar(now - timedelta(hours=policy.window_hours))),
            pc.equal(answers["digest"], answers["digest"][-1]),
        )
    )
    oldest = new["at"][0].as_py()
    touched = {at.astimezone(UTC).date() for at in new["at"].to_pylist()}
    counts: dict[date, int] = {}
    for at in answers["at"].to_pylist():
        day = at.astimezone(UTC).date()
        if day in touched:
            counts[day] = counts.get(day, 0) + 1
    return DriftScheduleInputs(now, new.num_rows, oldest, recent.num_rows, reported, tuple(sorted(counts.items())))


def window_to_measure(now: DriftScheduleInputs, policy: MonitoringPolicy) -> tuple[datetime, datetime] | str:
    """The window to measure, [start, end), or why none is due.

    With enough answers the last window_hours. A window that closes with too few is measured too, as far as it goes: the
    report then says "unknown", since silence would read as "no drift".
    """
    if not now.new or now.oldest_new is None:
        return "Production has answered nothing since the last drift report."
    if now.reported_at is not None:
        age = (now.now - now.reported_at).total_seconds()
        if age < policy.measure_every_s:
            return f"The last drift report is {age:.0f} s old; the next one comes after {policy.measure_every_s:g} s."
    span = timedelta(hours=policy.window_hours)
    if now.in_window >= policy.min_photographs:
        return now.now - span, now.now
    if now.now - now.oldest_new >= span:
        return now.oldest_new, now.oldest_new + span
    return (
        f"{now.in_window} answers of the model that serves; {policy.min_photographs} are needed, or the end of the "
        f"window that began at {now.oldest_new:%Y-%m-%d %H:%M} UTC."
    )
