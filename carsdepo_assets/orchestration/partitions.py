"""The units of work as Dagster sees them: one dynamic partition per closed batch, and one partition per day."""

import dagster as dg

upload_batches = dg.DynamicPartitionsDefinition(name="upload_batch")
label_batches = dg.DynamicPartitionsDefinition(name="label_batch")
# Days (UTC) of what the services answered. Today has its partition already, and is written all day long.
answer_days = dg.DailyPartitionsDefinition(start_date="2026-01-01", timezone="UTC", end_offset=1)
