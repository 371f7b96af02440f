"""The soak: the whole loop under `dagster dev`, a process of it killed every minute: `python -m benchmarks.soak`."""
