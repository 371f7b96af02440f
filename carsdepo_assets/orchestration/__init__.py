"""What the Dagster-facing modules of all steps share: catalogue and metadata, run states, attempts, partitions."""
