"""The units of work as Dagster sees them: one dynamic partition per closed batch."""

import dagster as dg

upload_batches = dg.DynamicPartitionsDefinition(name="upload_batch")
label_batches = dg.DynamicPartitionsDefinition(name="label_batch")
