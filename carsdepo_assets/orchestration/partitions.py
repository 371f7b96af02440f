"""The units of work as Dagster sees them: one dynamic partition per closed batch, and one partition per day."""

from datetime import date

import dagster as dg

upload_batches = dg.DynamicPartitionsDefinition(name="upload_batch")
label_batches = dg.DynamicPartitionsDefinition(name="label_batch")
# Days (UTC) of what the services answered. Today has its partition already, and is written all day long.
answer_days = dg.DailyPartitionsDefinition(start_date="2026-01-01", timezone="UTC", end_offset=1)


def is_answer_day(day: date) -> bool:
    """Whether a day has a partition. A clock that is wrong makes answers of days that have none.

    Dagster refuses a whole tick for one run of a partition that there is not.
    """
    return answer_days.has_partition_key(day.isoformat())
