"""Jobs of the data step: those that its sensors or the schedule `maintain` start, and those that a person starts."""

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import dagster as dg
from pydantic import Field

from carsdepo_assets.orchestration.attempts import ONCE_TAGS, RETRY_TAGS
from carsdepo_assets.orchestration.attribution import ACTOR, decider
from carsdepo_assets.orchestration.launchpad import Reason, example
from carsdepo_assets.resources import LakeResource, PolicyResource

if TYPE_CHECKING:
    from carsdepo_assets.data.objects.manifests import Kind
    from carsdepo_assets.lake.lake import Lake

MIN_FILES = 64  # small files of a table: reading it costs about a millisecond more for each
VACUUM_AFTER = timedelta(days=7)
_KEYS_A_RUN = 20_000  # partition keys that leave Dagster's pages in one run: each is a write to its database
_PARTITIONS: "dict[Kind, str]" = {"uploads": "upload_batch", "labels": "label_batch"}

# Of the jobs that ingest batches: a deployment limits how many of their runs go on at once (tag_concurrency_limits), so
# that thousands of batches keep no training, release or rollback waiting.
INGESTION_TAGS = {"carsdepo/ingestion": "batch"}

ingest_uploads_job = dg.define_asset_job(
    "ingest_uploads",
    selection=["uploads", "images", "processed_images"],
    tags={**RETRY_TAGS, **INGESTION_TAGS},
    description="Ingests one upload batch: outcomes of its objects, distinct photographs, processed copies.",
)
ingest_labels_job = dg.define_asset_job(
    "ingest_labels",
    selection=["labels"],
    tags={**RETRY_TAGS, **INGESTION_TAGS},
    description="Ingests one label batch: its files become annotation revisions.",
)
dataset_job = dg.define_asset_job(
    "build_dataset", selection=["dataset"], description="Builds the dataset alone, as a training would see it now."
)


@dg.op(description="Reads every manifest.csv that came or changed, for the photographs that are in the lake.")
def correct_photographs(context: dg.OpExecutionContext, lake: LakeResource) -> None:
    """Has corrected groups, listings, cameras and the like count for photographs that were ingested before."""
    from carsdepo_assets.data.photographs.metadata_corrections import correct_metadata

    corrected = correct_metadata(lake.open(), datetime.now(UTC))
    context.add_output_metadata(
        {"files": corrected.files, "photographs": corrected.photographs, "regrouped": corrected.groups}
    )
    context.log.info(f"{corrected.summary[:1].upper()}{corrected.summary[1:]}.")


@dg.job(
    name="correct_metadata",
    tags=RETRY_TAGS,
    description="Has a corrected manifest.csv count for the photographs that are in the lake already.",
)
def correct_metadata_job() -> None:
    """The job that the sensor `new_metadata` starts."""
    correct_photographs()


def old_partitions(instance: dg.DagsterInstance, lake: "Lake", kind: "Kind", before: str) -> list[str]:
    """The partition keys of ingested batches whose ids are smaller, oldest first."""
    from carsdepo_assets.data.batches.batches import open_batches

    keys = sorted(key for key in instance.get_dynamic_partitions(_PARTITIONS[kind]) if key < before)
    still_open = set(open_batches(lake, kind)) if keys else set()
    return [key for key in keys if key not in still_open]


@dg.op(description="Merges the small files of tables, rolls old manifests up, and takes old partitions off the pages.")
def keep_lake_quick(context: dg.OpExecutionContext, lake: LakeResource, policy: PolicyResource) -> None:
    """Keeps what is read and listed short. Nothing that was ingested is lost, and it may be killed anywhere."""
    from carsdepo_assets.data.batches.roll_up import oldest_kept, roll_up
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
    from carsdepo_assets.data.batches.roll_up import oldest_kept
    from carsdepo_assets.lake.maintenance import needing

    opened_lake = lake.open()
    tables = needing(opened_lake, MIN_FILES)
    before = oldest_kept(datetime.now(UTC), policy.read().data.batch_retention_days)
    old = sum(len(old_partitions(context.instance, opened_lake, kind, before)) for kind in _PARTITIONS)
    if not tables and not old:
        return dg.SkipReason(f"No table has {MIN_FILES} small files, and no old batch has a partition.")
    return dg.RunRequest(tags={"carsdepo/tables": str(len(tables)), "carsdepo/old_batches": str(old)})


class ExtendGolden(dg.Config):
    """Who extends the golden set, and why."""

    reason: Reason = Field(description="why it grows now, for example: night photographs came in since")
    actor: str | None = Field(None, description=ACTOR)


@dg.op(description="Adds the newest dataset's test pool to the golden set, as a new version.", out=dg.Out(int))
def extend_golden_set(context: dg.OpExecutionContext, config: ExtendGolden, lake: LakeResource) -> int:
    """Extends the golden set and returns the new version, on which models are evaluated from now on."""
    from carsdepo_assets.data.datasets.golden_extension import extend
    from carsdepo_assets.lake import golden

    opened_lake = lake.open()
    actor = decider(context.instance, context.run, config.actor)
    try:
        extended = extend(opened_lake, actor, config.reason, datetime.now(UTC))
    except ValueError as error:
        raise dg.Failure(str(error), allow_retries=False) from error
    before = golden.read(opened_lake, extended.version - 1)
    added = len(extended.images) - len(before.images)
    context.add_output_metadata(
        {
            "version": extended.version,
            "photographs": len(extended.images),
            "added": added,
            "by": extended.added_by,
            "reason": extended.reason,
        }
    )
    context.log.info(
        f"Golden set {extended.version}: {len(extended.images)} photographs, {added} new. "
        "Materialize `evaluation` for figures on it."
    )
    return extended.version


@dg.job(
    name="extend_golden",
    config=example("extend_golden_set"),
    tags=ONCE_TAGS,
    description="Extends the golden test set by the labelled photographs that were held out since. No split changes.",
)
def extend_golden_job() -> None:
    """The job that a person starts with a reason."""
    extend_golden_set()
