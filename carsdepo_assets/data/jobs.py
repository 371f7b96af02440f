"""Jobs of the data step: those that its sensors start for each batch, and those that a person starts."""

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import dagster as dg
from pydantic import Field

from carsdepo_assets.orchestration.attempts import ONCE_TAGS, RETRY_TAGS
from carsdepo_assets.orchestration.attribution import ACTOR, decider
from carsdepo_assets.orchestration.launchpad import Reason, example
from carsdepo_assets.resources import LakeResource, PolicyResource

if TYPE_CHECKING:
    from carsdepo_assets.data.manifests import Kind

MAINTENANCE_JOB = "maintain_lake"

ingest_uploads_job = dg.define_asset_job(
    "ingest_uploads",
    selection=["uploads", "images", "processed_images"],
    tags=RETRY_TAGS,
    description="Ingests one upload batch: outcomes of its objects, distinct photographs, processed copies.",
)
ingest_labels_job = dg.define_asset_job(
    "ingest_labels",
    selection=["labels"],
    tags=RETRY_TAGS,
    description="Ingests one label batch: its files become annotation revisions.",
)
dataset_job = dg.define_asset_job(
    "build_dataset", selection=["dataset"], description="Builds the dataset alone, as a training would see it now."
)


# Small files of a table: reading it costs 1 ms more for each.
MIN_FILES = 64
VACUUM_AFTER = timedelta(days=7)
PARTITIONS: "dict[Kind, str]" = {"uploads": "upload_batch", "labels": "label_batch"}
_KEYS_A_RUN = 20_000  # partition keys that leave Dagster's pages in one run: each is a write to its database


@dg.op(description="Merges the small files of tables, rolls old manifests up, and takes old partitions off the pages.")
def keep_lake_quick(context: dg.OpExecutionContext, lake: LakeResource, policy: PolicyResource) -> None:
    """Keeps what is read and listed short. Nothing that was ingested is lost, and it may be killed anywhere."""
    from carsdepo_assets.data.batches import open_batches
    from carsdepo_assets.data.roll_up import oldest_kept, roll_up
    from carsdepo_assets.lake.maintenance import compact, vacuum

    opened_lake, days = lake.open(), policy.read().data.batch_retention_days
    compacted = compact(opened_lake, min_files=MIN_FILES)
    removed = vacuum(opened_lake, VACUUM_AFTER)
    before, manifests, partitions = oldest_kept(datetime.now(UTC), days), 0, 0
    for kind, name in PARTITIONS.items():
        manifests += roll_up(opened_lake, kind, before)
        still_open = set(open_batches(opened_lake, kind))
        keys = context.instance.get_dynamic_partitions(name)
        old = [key for key in sorted(keys) if key < before and key not in still_open][:_KEYS_A_RUN]
        for key in old:
            context.instance.delete_dynamic_partition(name, key)
        partitions += len(old)
    context.log.info(
        f"{len(compacted)} tables compacted, {sum(map(len, removed.values()))} files removed that nothing refers to; "
        f"{manifests} manifests of batches older than {days} days rolled up, {partitions} of their partitions removed."
    )


@dg.job(
    name=MAINTENANCE_JOB,
    tags=RETRY_TAGS,
    description="Keeps a lake quick that is written all day: merges small files of tables, rolls up the manifests of "
    "batches older than policy.data.batch_retention_days, and removes their partitions from Dagster's pages.",
)
def maintenance_job() -> None:
    """The job that the schedule `maintain` starts."""
    keep_lake_quick()


class ExtendGolden(dg.Config):
    """Who extends the golden set, and why."""

    reason: Reason = Field(description="why it grows now, for example: night photographs came in since")
    actor: str | None = Field(None, description=ACTOR)


@dg.op(description="Adds the newest dataset's test pool to the golden set, as a new version.", out=dg.Out(int))
def extend_golden_set(context: dg.OpExecutionContext, config: ExtendGolden, lake: LakeResource) -> int:
    """Extends the golden set and returns the new version, on which models are evaluated from now on."""
    from carsdepo_assets.data.golden_extension import extend
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
