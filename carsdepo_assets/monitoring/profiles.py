"""whylogs profiles of references and of each day's answers. They can be merged, and other tools can read them."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pandas as pd
import pyarrow as pa

from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.monitoring.features import IMAGE, SOURCES
from carsdepo_assets.monitoring.window import STAGE
from carsdepo_assets.quality import profiles

ANSWER = ("n_boxes", "max_score", "milliseconds", "decision")
COLUMNS = (*IMAGE, *SOURCES, *ANSWER)


def profile_of(frame: pd.DataFrame) -> bytes:
    """The profile of those COLUMNS that the frame has."""
    return profiles.profile(frame, COLUMNS)


def day_of(lake: Lake, day: date) -> pa.Table:
    """The answers of production on a day (UTC), with their COLUMNS and ids, in order of time."""
    start = datetime(day.year, day.month, day.day, tzinfo=UTC)
    names = ["prediction_id", "image_id", "at", "stage", "digest", *COLUMNS]
    of_day = [("at", ">=", start), ("at", "<", start + timedelta(days=1)), ("stage", "=", STAGE)]
    table = lake.read("inferences", names, of_day)
    return table.sort_by([("at", "ascending"), ("prediction_id", "ascending")])


def write_day(lake: Lake, day: date, answers: pa.Table) -> str:
    """Stores the profile of a day's answers and returns its key. The same answers give the same profile again."""
    key = f"{profiles.INFERENCE}/{day.isoformat()}.bin"
    lake.put(key, profile_of(answers.to_pandas()))
    return key


def days(lake: Lake, start: date, end: date) -> bytes | None:
    """The merged profile of the days from start to end, both included; None where none of them has one."""
    span = [start + timedelta(days=n) for n in range((end - start).days + 1)]
    keys = [f"{profiles.INFERENCE}/{day.isoformat()}.bin" for day in span]
    profiles_of_days = [lake.get(key) for key in keys if lake.exists(key)]
    return profiles.merge(profiles_of_days) if profiles_of_days else None
