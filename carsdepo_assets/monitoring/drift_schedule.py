"""Decides when the next drift report is made, from the answers and reports that are stored in the lake."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

import pyarrow as pa
import pyarrow.compute as pc

from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.monitoring.window import STAGE
from carsdepo_assets.orchestration.decision import Decision
from carsdepo_assets.policy import MonitoringPolicy


@dataclass(frozen=True)
class DriftScheduleInputs:
    """What the decision rests on."""

    now: datetime
    new: int
    """Answers of production since the end of the last report's window; all of them before the first report."""
    oldest_new: datetime | None
    """When the first of the new answers was given."""
    in_window: int
    """Answers of the model that answered last, within the last policy.window_hours."""
    reported_at: datetime | None
    """When the last report was made; None before the first."""
    days: tuple[tuple[date, int], ...] = ()
    """The days (UTC) of the new answers, each with the number of all its answers, in order."""


def drift_schedule_inputs(lake: Lake, policy: MonitoringPolicy, now: datetime) -> DriftScheduleInputs:
    """Reads from the tables `inferences` and `drift` what `window_to_measure` decides on."""
    reports = lake.read("drift", columns=["at", "window_to"])
    last, reported = pc.max(reports["window_to"]).as_py(), pc.max(reports["at"]).as_py()
    of_stage = ("stage", "=", STAGE)
    since = [] if last is None else [("at", ">=", last)]
    new = lake.read("inferences", ["at"], [of_stage, *since])["at"]
    if not len(new):
        return DriftScheduleInputs(now, 0, None, 0, reported)
    oldest = pc.min(new).as_py()
    # The newest answer is a new one; what is counted besides lies in the last window and on the days of new answers.
    window_start = now - timedelta(hours=policy.window_hours)
    first_day = datetime.combine(oldest.astimezone(UTC).date(), time(), UTC)
    answers = lake.read("inferences", ["at", "digest"], [of_stage, ("at", ">=", min(window_start, first_day))])
    digest = answers["digest"][pc.index(answers["at"], pc.max(new)).as_py()]
    in_window = pc.and_(pc.greater_equal(answers["at"], pa.scalar(window_start)), pc.equal(answers["digest"], digest))
    touched = pc.unique(_days(new))
    days = _days(answers["at"])
    counts = pc.value_counts(days.filter(pc.is_in(days, value_set=touched))).to_pylist()
    return DriftScheduleInputs(
        now,
        len(new),
        oldest,
        int(pc.sum(in_window).as_py() or 0),
        reported,
        tuple(sorted((row["values"], row["counts"]) for row in counts)),
    )


def _days(times: pa.ChunkedArray) -> pa.ChunkedArray:
    """The UTC days of times."""
    return times.cast(pa.timestamp("us")).cast(pa.date32(), safe=False)


def window_to_measure(inputs: DriftScheduleInputs, policy: MonitoringPolicy) -> Decision[tuple[datetime, datetime]]:
    """Decides whether a drift report is made now, and of which answers.

    With enough answers these are the last window_hours. A window that ends with too few answers is measured too: the
    report then says that drift is unknown, because no report at all would look like "no drift".

    Returns:
        The window [start, end), or nothing.
    """
    if not inputs.new or inputs.oldest_new is None:
        return Decision(None, "Production has answered nothing since the last drift report.")
    if inputs.reported_at is not None:
        age = (inputs.now - inputs.reported_at).total_seconds()
        if age < policy.measure_every_s:
            return Decision(
                None,
                f"The last drift report is {age:.0f} s old; the next one comes after {policy.measure_every_s:g} s.",
            )
    span = timedelta(hours=policy.window_hours)
    if inputs.in_window >= policy.min_photographs:
        return Decision((inputs.now - span, inputs.now), f"{inputs.in_window} answers are enough for a drift report.")
    if inputs.now - inputs.oldest_new >= span:
        return Decision(
            (inputs.oldest_new, inputs.oldest_new + span),
            f"The window that began at {inputs.oldest_new:%Y-%m-%d %H:%M} UTC has ended.",
        )
    return Decision(
        None,
        f"{inputs.in_window} answers of the model that serves; {policy.min_photographs} are needed, or the end of the "
        f"window that began at {inputs.oldest_new:%Y-%m-%d %H:%M} UTC.",
    )
