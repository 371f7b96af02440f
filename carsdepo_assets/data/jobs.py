"""Jobs of the data step: those that its sensors start for each batch, and those that a person starts."""

from datetime import UTC, datetime

import dagster as dg
from pydantic import Field

from carsdepo_assets.orchestration.attempts import RETRY_TAGS
from carsdepo_assets.orchestration.launchpad import Reason, example
from carsdepo_assets.resources import LakeResource

ingest_uploads_job = dg.define_asset_job(
    "ingest_uploads",
    selection=["uploads", "images", "processed_images"],
    tags=RETRY_TAGS,
    description="One upload batch: manifest, distinct photographs, processed images.",
)
ingest_labels_job = dg.define_asset_job(
    "ingest_labels",
    selection=["labels"],
    tags=RETRY_TAGS,
    description="One label batch: annotation revisions.",
)
dataset_job = dg.define_asset_job(
    "build_dataset", selection=["dataset"], description="The newest manifest alone: what a training would see now."
)


class ExtendGolden(dg.Config):
    """Who extends the golden set, and why."""

    reason: Reason = Field(description="why it grows now, for example: night photographs came in since")
    actor: str | None = Field(None, description="who decides it; default: the user of this process")


@dg.op(description="Adds the newest dataset's test pool to the golden set, as a new version.", out=dg.Out(int))
def extend_golden_set(context: dg.OpExecutionContext, config: ExtendGolden, lake: LakeResource) -> int:
    """The new version. Evaluations, promotions and comparisons from now on are on it."""
    from carsdepo_assets.data.golden_extension import extend
    from carsdepo_assets.lake import golden
    from carsdepo_assets.registry.ledger import person

    opened = lake.open()
    try:
        made = extend(opened, config.actor or person(), config.reason, datetime.now(UTC))
    except ValueError as error:
        raise dg.Failure(str(error), allow_retries=False) from error
    before = golden.read(opened, made.version - 1)
    context.add_output_metadata(
        {
            "version": made.version,
            "photographs": len(made.images),
            "added": len(made.images) - len(before.images),
            "by": made.added_by,
            "reason": made.reason,
        }
    )
    context.log.info(
        f"Golden set {made.version}: {len(made.images)} photographs, {len(made.images) - len(before.images)} new. "
        "Materialize `evaluation` for figures on it."
    )
    return made.version


@dg.job(
    name="extend_golden",
    config=example("extend_golden_set"),
    description="Extends the golden test set by what was held out since; splits never change.",
)
def extend_golden_job() -> None:
    extend_golden_set()
