"""The job that keeps a lake quick that is written all day, and the schedule that starts it where it has work."""

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import dagster as dg

from carsdepo_assets.orchestration.attempts import RETRY_TAGS
from carsdepo_assets.resources import LakeResource, PolicyResource

if TYPE_CHECKING:
    from carsdepo_assets.data.manifests import Kind
    from carsdepo_assets.lake.lake import Lake

MIN_FILES = 64  # small files of a table: reading it costs about a millisecond more for each
VACUUM_AFTER = timedelta(days=7)
_KEYS_A_RUN = 20_000  # partition keys that leave Dagster's pages in one run: each is a write to its database
_PARTITIONS: "dict[Kind, str]" = {"uploads": "upload_batch", "labels": "label_batch"}


def old_partitions(instance: dg.DagsterInstance, lake: "Lake", kind: "Kind", before: str) -> list[str]:
    """The partition keys of ingested batches whose ids are smaller, oldest first."""
    from carsdepo_assets.data.batches import open_batches

    keys = sorted(key for key in instance.get_dynamic_partitions(_PARTITIONS[kind]) if key < before)
    still_open = set(open_batches(lake, kind)) if keys else set()
    return [key for key in keys if key not in still_open]


@dg.op(description="Merges the small files of tables, rolls old manifests up, and takes old partitions off the pages.")
def keep_lake_quick(context: dg.OpExecutionContext, lake: LakeResource, policy: PolicyResource) -> None:
    """Keeps what is read and listed short. Nothing that was ingested is lost, and it may be killed anywhere."""
    from carsdepo_assets.data.roll_up import oldest_kept, roll_up
    from carsdepo_assets.lake.maintenance import compact, vacuum

    opened_lake, days = lake.open(), policy.read().data.batch_retention_days
    compacted = compact(opened_lake, min_files=MIN_FILES)
    removed = vacuum(opened_lake, VACUUM_AFTER)
    before, manifests, partitions = oldest_kept(datetime.now(UTC), days), 0, 0
    for kind, name in _PARTITIONS.items():
        manifests += roll_up(opened_lake, kind, before)
        old = old_partitions(context.instance, opened_lake, kind, before)[:_KEYS_A_RUN]
        for key in old:
            context.instance.delete_dynamic_partition(name, key)
        partitions += len(old)
    context.log.info(
        f"{len(compacted)} tables compacted, {sum(map(len, removed.values()))} files removed that nothing refers to; "
        f"{manifests} manifests of batches older than {days} days rolled up, {partitions} of their partitions removed."
    )


@dg.job(
    name="maintain_lake",
    tags=RETRY_TAGS,
    description="Keeps a lake quick that is written all day: merges small files of tables, rolls up the manifests of "
    "batches older than policy.data.batch_retention_days, and removes their partitions from Dagster's pages.",
)
def maintenance_job() -> None:
    """The job that the schedule `maintain` starts."""
    keep_lake_quick()


@dg.schedule(
    job=maintenance_job,
    cron_schedule="30 * * * *",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Asks every hour for a run of `maintain_lake` where tables have many small files, or old batches still "
    "have partitions.",
)
def maintain(
    context: dg.ScheduleEvaluationContext, lake: LakeResource, policy: PolicyResource
) -> dg.RunRequest | dg.SkipReason:
    """Requests a run where there is something to do."""
    from carsdepo_assets.data.roll_up import oldest_kept
    from carsdepo_assets.lake.maintenance import needing

    opened_lake = lake.open()
    tables = needing(opened_lake, MIN_FILES)
    before = oldest_kept(datetime.now(UTC), policy.read().data.batch_retention_days)
    old = sum(len(old_partitions(context.instance, opened_lake, kind, before)) for kind in _PARTITIONS)
    if not tables and not old:
        return dg.SkipReason(f"No table has {MIN_FILES} small files, and no old batch has a partition.")
    return dg.RunRequest(tags={"carsdepo/tables": str(len(tables)), "carsdepo/old_batches": str(old)})
