"""The schedule that keeps a lake quick that is written all day."""

from __future__ import annotations

from datetime import UTC, datetime

import dagster as dg

from carsdepo_assets.data.jobs import MIN_FILES, PARTITIONS, maintenance_job
from carsdepo_assets.resources import LakeResource, PolicyResource


@dg.schedule(
    job=maintenance_job,
    cron_schedule="30 * * * *",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Asks every hour for a run of `maintain_lake` where tables have many small files, or old batches are "
    "still listed one by one.",
)
def maintain(
    context: dg.ScheduleEvaluationContext, lake: LakeResource, policy: PolicyResource
) -> dg.RunRequest | dg.SkipReason:
    """Requests a run where there is something to do."""
    from carsdepo_assets.data.batches import open_batches
    from carsdepo_assets.data.roll_up import oldest_kept
    from carsdepo_assets.lake.maintenance import needing

    opened_lake = lake.open()
    tables = needing(opened_lake, MIN_FILES)
    before = oldest_kept(datetime.now(UTC), policy.read().data.batch_retention_days)
    old = 0
    for kind, name in PARTITIONS.items():
        keys = [key for key in context.instance.get_dynamic_partitions(name) if key < before]
        old += len(set(keys) - set(open_batches(opened_lake, kind))) if keys else 0
    if not tables and not old:
        return dg.SkipReason(f"No table has {MIN_FILES} small files, and no old batch has a partition.")
    return dg.RunRequest(tags={"carsdepo/tables": str(len(tables)), "carsdepo/old_batches": str(old)})
