"""Step 2 as assets: uploads and labels become images, processed images and a dataset."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import dagster as dg

from carsdepo_assets import __version__
from carsdepo_assets.orchestration.partitions import label_batches, upload_batches
from carsdepo_assets.orchestration.ui_metadata import significant, table
from carsdepo_assets.resources import LakeResource, PolicyResource

if TYPE_CHECKING:
    from carsdepo_assets.data.expectations import CheckOutcome


def check_result(name: str, outcome: "CheckOutcome") -> dg.AssetCheckResult:
    """A Great Expectations outcome as an asset check with its failing rows."""
    severity = dg.AssetCheckSeverity.ERROR if outcome.severity == "ERROR" else dg.AssetCheckSeverity.WARN
    metadata: dict[str, dg.MetadataValue] = {"statistics": dg.MetadataValue.json(outcome.statistics)}
    if len(outcome.failing_rows):
        metadata["failing rows"] = table(outcome.failing_rows)
    return dg.AssetCheckResult(
        check_name=name, passed=outcome.passed, severity=severity, description=outcome.summary, metadata=metadata
    )


@dg.asset(
    group_name="data",
    partitions_def=upload_batches,
    code_version=__version__,
    kinds={"deltalake"},
    check_specs=[
        dg.AssetCheckSpec(
            "batch_is_sound",
            asset="uploads",
            blocking=True,
            description="Great Expectations on the batch: keys, outcomes, digests.",
        )
    ],
)
def uploads(context: dg.AssetExecutionContext, lake: LakeResource, policy: PolicyResource) -> dg.MaterializeResult:
    """The batch's manifest and what became of each object: new, duplicate or quarantined."""
    from carsdepo_assets.data.expectations import validate_uploads
    from carsdepo_assets.data.ingest import ingest_uploads

    rules = policy.read()
    result = ingest_uploads(lake.open(), context.partition_key, rules)
    frame = result.rows.to_pandas()
    return dg.MaterializeResult(
        data_version=dg.DataVersion(context.partition_key),
        metadata={
            "objects": len(frame),
            "bytes": int(frame["bytes"].sum()),
            "outcomes": dg.MetadataValue.json(frame["outcome"].value_counts().to_dict()),
            "first objects": table(frame[["key", "bytes", "outcome", "reason"]]),
        },
        check_results=[check_result("batch_is_sound", validate_uploads(frame, rules))],
    )


@dg.asset(
    group_name="data",
    partitions_def=upload_batches,
    deps=[uploads],
    code_version=__version__,
    kinds={"deltalake"},
    check_specs=[
        dg.AssetCheckSpec(
            "photographs_are_sound",
            asset="images",
            blocking=True,
            description="Great Expectations on the batch: digests, sizes, features, share in quarantine.",
        ),
        dg.AssetCheckSpec(
            "cars_are_known",
            asset="images",
            description="Warns where most photographs of the batch have neither group nor listing: each then counts as "
            "a car of its own.",
        ),
    ],
)
def images(context: dg.AssetExecutionContext, lake: LakeResource, policy: PolicyResource) -> dg.MaterializeResult:
    """Distinct photographs: size, EXIF, quality features, perceptual hash and vehicle metadata, one row each."""
    from carsdepo_assets.data.expectations import validate_groups, validate_images
    from carsdepo_assets.data.ingest import build_images
    from carsdepo_assets.data.profiling import merged, profile

    opened, rules = lake.open(), policy.read()
    result = build_images(opened, context.partition_key, rules)
    frame, refused = result.rows.to_pandas(), result.quarantined.to_pandas()
    metadata: dict[str, Any] = {"photographs": len(frame), "quarantined": len(refused)}
    if len(frame):
        profiled = profile(frame)
        opened.put(f"profiles/images/{context.partition_key}.bin", profiled)
        metadata["features (whylogs profile)"] = table(merged([profiled]).reset_index(), 20)
        metadata["light"] = dg.MetadataValue.json(frame["light"].fillna("unknown").value_counts().to_dict())
        metadata["mean luma"] = significant(float(frame["luma_mean"].mean()))
    if len(refused):
        metadata["quarantine"] = table(refused[["key", "reason", "detail"]])
    return dg.MaterializeResult(
        data_version=dg.DataVersion(context.partition_key),
        metadata=metadata,
        check_results=[
            check_result("photographs_are_sound", validate_images(frame, len(refused), rules)),
            check_result("cars_are_known", validate_groups(frame)),
        ],
    )


@dg.asset(group_name="data", partitions_def=upload_batches, deps=[images], code_version=__version__, kinds={"jpeg"})
def processed_images(
    context: dg.AssetExecutionContext, lake: LakeResource, policy: PolicyResource
) -> dg.MaterializeResult:
    """The photographs upright, longest side as the policy says, JPEG, named by content."""
    from carsdepo_assets.data.ingest import build_processed

    frame = build_processed(lake.open(), context.partition_key, policy.read()).rows.to_pandas()
    return dg.MaterializeResult(
        data_version=dg.DataVersion(context.partition_key),
        metadata={
            "images": len(frame),
            "bytes": int(frame["bytes"].sum()) if len(frame) else 0,
            "first images": table(frame[["image_id", "object_key", "width", "height", "scale"]]),
        },
    )


@dg.asset(
    group_name="data",
    partitions_def=label_batches,
    deps=[images],
    code_version=__version__,
    kinds={"deltalake"},
    check_specs=[
        dg.AssetCheckSpec(
            "labels_are_sound",
            asset="labels",
            blocking=True,
            description="Great Expectations on the batch: boxes inside the image, with area, of known classes.",
        )
    ],
)
def labels(context: dg.AssetExecutionContext, lake: LakeResource, policy: PolicyResource) -> dg.MaterializeResult:
    """Annotation revisions: the boxes of each photograph as someone saw them; the latest counts."""
    from carsdepo_assets.data.expectations import validate_labels
    from carsdepo_assets.data.label_revisions import ingest_labels

    rules = policy.read()
    opened = lake.open()
    result = ingest_labels(opened, context.partition_key, rules, datetime.now(UTC))
    sizes = opened.read("images", columns=["image_id", "width", "height"]).to_pandas()
    frame, refused = result.rows.to_pandas(), result.quarantined.to_pandas()
    boxes = frame["boxes"].map(len) if len(frame) else []
    metadata: dict[str, Any] = {
        "revisions": len(frame),
        "boxes": int(sum(boxes)),
        "quarantined": len(refused),
        "without damage": int(sum(n == 0 for n in boxes)),
    }
    if len(refused):
        metadata["quarantine"] = table(refused[["key", "line", "reason", "detail"]])
    return dg.MaterializeResult(
        data_version=dg.DataVersion(context.partition_key),
        metadata=metadata,
        check_results=[check_result("labels_are_sound", validate_labels(frame, rules, sizes))],
    )


@dg.asset(group_name="data", deps=[images, processed_images, labels], code_version=__version__, kinds={"parquet"})
def dataset(lake: LakeResource, policy: PolicyResource) -> dg.MaterializeResult:
    """An immutable manifest: every labelled photograph with its split, group, label revision and batches.

    The version is a digest of the content: the same photographs and labels give the same version.
    """
    from carsdepo_assets.data.dataset import build_dataset

    built = build_dataset(lake.open(), policy.read(), datetime.now(UTC))
    frame = built.manifest.to_pandas()
    counts = (
        frame.assign(boxes=frame["boxes"].map(len))
        .groupby("split")
        .agg(photographs=("image_id", "size"), groups=("group_id", "nunique"), boxes=("boxes", "sum"))
        .reset_index()
    )
    return dg.MaterializeResult(
        data_version=dg.DataVersion(built.version),
        metadata={
            "version": built.version,
            "photographs": len(frame),
            "splits": table(counts),
            "summary": dg.MetadataValue.json(built.summary),
            "manifest": lake.link(f"datasets/{built.version}/manifest.parquet"),
        },
    )
