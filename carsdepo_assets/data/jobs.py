"""Jobs of the data step: those that its sensors start for each batch, and those that a person starts."""

from datetime import UTC, datetime

import dagster as dg
from pydantic import Field

from carsdepo_assets.orchestration.attempts import ONCE_TAGS, RETRY_TAGS
from carsdepo_assets.orchestration.attribution import ACTOR, decider
from carsdepo_assets.orchestration.launchpad import Reason, example
from carsdepo_assets.resources import LakeResource

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


@dg.op(description="Reads every manifest.csv that came or changed, for the photographs that are in the lake.")
def correct_photographs(context: dg.OpExecutionContext, lake: LakeResource) -> None:
    """Has corrected groups, listings, cameras and the like count for photographs that were ingested before."""
    from carsdepo_assets.data.metadata_corrections import correct_metadata

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
