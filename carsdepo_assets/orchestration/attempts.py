"""How often a piece of work is tried again, and when: asked by every sensor that starts runs."""

from __future__ import annotations

# Of a job whose runs Dagster itself starts again: a run whose process died is reported as failed by the sensor
# `settle_runs`, and the retry finishes its work.
RETRY_TAGS = {"dagster/max_retries": "2"}
