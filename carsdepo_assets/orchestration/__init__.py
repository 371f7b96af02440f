"""What the Dagster-facing modules of all steps share: metadata for the UI, run states, partitions, dead runs."""
