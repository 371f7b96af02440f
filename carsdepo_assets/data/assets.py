"""The assets of the data step: uploads and label files become images, processed images and a dataset."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import dagster as dg

from carsdepo_assets.compute.target import ComputeTarget, of_worker
from carsdepo_assets.orchestration.partitions import label_batches, upload_batches
from carsdepo_assets.orchestration.ui_metadata import column_schema, metadata_table, significant, stored_table
from carsdepo_assets.resources import LakeResource, PolicyResource

if TYPE_CHECKING:
    from carsdepo_assets.data.photographs.expectations import CheckOutcome
    from carsdepo_assets.data.photographs.ingest import ProcessingStep
    from carsdepo_assets.lake.lake import Lake
    from carsdepo_assets.policy import Policy


def process(
    context: dg.AssetExecutionContext, compute: ComputeTarget, lake: "Lake", policy: "Policy", step: "ProcessingStep"
) -> list[dg.MaterializeResult]:
    """Has the worker (verb `process`) do a step for the run's batch; nothing where the lake has its rows already."""
    from carsdepo_assets.compute.worker.process import spec_json
    from carsdepo_assets.data.photographs.ingest import is_processed, require_step_before
    from carsdepo_assets.data.photographs.processing_worker import ProcessingSpec

    batch_id = context.partition_key
    require_step_before(lake, batch_id, step)
    if is_processed(lake, batch_id, step):
        return []
    spec = ProcessingSpec(lake=lake.url, policy=policy, batch_id=batch_id, step=step, dagster_run_id=context.run.run_id)
    return [
        compute.run(context, "process", spec_json(spec), module="carsdepo_assets.data.photographs.processing_worker")
    ]


def check_result(name: str, outcome: "CheckOutcome") -> dg.AssetCheckResult:
    """The result of an asset check, with the failing rows, from an outcome of Great Expectations."""
    severity = dg.AssetCheckSeverity.ERROR if outcome.severity == "ERROR" else dg.AssetCheckSeverity.WARN
    metadata: dict[str, dg.MetadataValue] = {"statistics": dg.MetadataValue.json(outcome.statistics)}
    if len(outcome.failing_rows):
        metadata["failing_rows"] = metadata_table(outcome.failing_rows)
    return dg.AssetCheckResult(
        check_name=name, passed=outcome.passed, severity=severity, description=outcome.summary, metadata=metadata
    )


@dg.asset(
    group_name="data",
    partitions_def=upload_batches,
    kinds={"deltalake"},
    check_specs=[
        dg.AssetCheckSpec(
            "batch_is_sound",
            asset="uploads",
            blocking=True,
            description="Great Expectations validates keys, outcomes and digests. A failure blocks what follows.",
        )
    ],
)
def uploads(context: dg.AssetExecutionContext, lake: LakeResource, policy: PolicyResource) -> dg.MaterializeResult:
    """The objects of one upload batch, and what became of each: new, duplicate or quarantined.

    A batch is closed by the sensor `new_uploads` or by an import; its manifest lists the files of raw/uploads.
    """
    from carsdepo_assets.data.batches.readmissions import check_policy
    from carsdepo_assets.data.photographs.expectations import validate_uploads
    from carsdepo_assets.data.photographs.ingest import ingest_uploads

    opened_lake, current_policy = lake.open(), policy.read()
    result = ingest_uploads(opened_lake, context.partition_key, current_policy)
    checked_by = check_policy(opened_lake, context.partition_key, current_policy)
    frame = result.rows.to_pandas()
    return dg.MaterializeResult(
        data_version=dg.DataVersion(context.partition_key),
        metadata={
            **stored_table(lake.url, "uploads"),
            "dagster/partition_row_count": len(frame),
            "bytes": int(frame["bytes"].sum()),
            "outcomes": dg.MetadataValue.json(frame["outcome"].value_counts().to_dict()),
            "first_objects": metadata_table(frame[["key", "bytes", "outcome", "reason"]]),
            "feedback_reads": ["images"],
        },
        check_results=[check_result("batch_is_sound", validate_uploads(frame, checked_by))],
    )


@dg.asset(
    group_name="data",
    partitions_def=upload_batches,
    deps=[uploads],
    kinds={"deltalake"},
    check_specs=[
        dg.AssetCheckSpec(
            "photographs_are_sound",
            asset="images",
            blocking=True,
            description="Great Expectations validates digests, sizes, features and the share in quarantine. A failure "
            "blocks what follows.",
        ),
        dg.AssetCheckSpec(
            "cars_are_known",
            asset="images",
            description="Warns when most photographs of the batch have neither group nor listing, as each of them then "
            "counts as a car of its own.",
        ),
    ],
)
def images(
    context: dg.AssetExecutionContext, lake: LakeResource, policy: PolicyResource, compute: ComputeTarget
) -> dg.MaterializeResult:
    """The distinct photographs of one upload batch: size, EXIF, quality features, perceptual hash, vehicle metadata."""
    from carsdepo_assets.data.batches.readmissions import check_policy
    from carsdepo_assets.data.photographs.expectations import validate_groups, validate_images
    from carsdepo_assets.data.photographs.ingest import build_images
    from carsdepo_assets.data.photographs.profiling import merged, profile

    opened_lake, current_policy = lake.open(), policy.read()
    worked = process(context, compute, opened_lake, current_policy, "images")
    checked_by = check_policy(opened_lake, context.partition_key, current_policy)
    result = build_images(opened_lake, context.partition_key, current_policy)  # reads what the worker stored
    frame, refused = result.rows.to_pandas(), result.quarantined.to_pandas()
    metadata: dict[str, Any] = {
        **stored_table(lake.url, "images"),
        "dagster/partition_row_count": len(frame),
        "quarantined": len(refused),
        **of_worker(worked),
    }
    if len(frame):
        profiled = profile(frame)
        opened_lake.put(f"profiles/images/{context.partition_key}.bin", profiled)
        metadata["feature_profile"] = metadata_table(merged([profiled]).reset_index(), 20)
        metadata["light"] = dg.MetadataValue.json(frame["light"].fillna("unknown").value_counts().to_dict())
        metadata["mean_luma"] = significant(float(frame["luma_mean"].mean()))
    if len(refused):
        metadata["quarantine"] = metadata_table(refused[["key", "reason", "detail"]])
    return dg.MaterializeResult(
        data_version=dg.DataVersion(context.partition_key),
        metadata=metadata,
        check_results=[
            check_result("photographs_are_sound", validate_images(frame, len(refused), checked_by)),
            check_result("cars_are_known", validate_groups(frame)),
        ],
    )


@dg.asset(group_name="data", partitions_def=upload_batches, deps=[images], kinds={"jpeg"})
def processed_images(
    context: dg.AssetExecutionContext, lake: LakeResource, policy: PolicyResource, compute: ComputeTarget
) -> dg.MaterializeResult:
    """Copies of the photographs for training: upright JPEGs, reduced to the longest side that the policy allows.

    They are stored at `objects/`, named by the content of the original.
    """
    from carsdepo_assets.data.objects.object_states import mark_ingested
    from carsdepo_assets.data.photographs.ingest import build_processed

    opened_lake, current_policy = lake.open(), policy.read()
    worked = process(context, compute, opened_lake, current_policy, "processed")
    frame = build_processed(opened_lake, context.partition_key, current_policy).rows.to_pandas()
    mark_ingested(opened_lake, "uploads", context.partition_key, datetime.now(UTC))
    return dg.MaterializeResult(
        data_version=dg.DataVersion(context.partition_key),
        metadata={
            **stored_table(lake.url, "processed"),
            "dagster/partition_row_count": len(frame),
            "bytes": int(frame["bytes"].sum()) if len(frame) else 0,
            "first_images": metadata_table(frame[["image_id", "object_key", "width", "height", "scale"]]),
            **of_worker(worked),
        },
    )


@dg.asset(
    group_name="data",
    partitions_def=label_batches,
    deps=[images],
    kinds={"deltalake"},
    check_specs=[
        dg.AssetCheckSpec(
            "labels_are_sound",
            asset="labels",
            blocking=True,
            description="Great Expectations validates that boxes lie inside the image and have area and a known class. "
            "A failure blocks what follows.",
        )
    ],
)
def labels(context: dg.AssetExecutionContext, lake: LakeResource, policy: PolicyResource) -> dg.MaterializeResult:
    """Annotation revisions of one label batch: the boxes that someone drew on each photograph.

    Revisions are never changed; the latest one of a photograph counts. Files with an error go to quarantine.
    """
    from carsdepo_assets.data.labels.label_revisions import ingest_labels
    from carsdepo_assets.data.objects.object_states import mark_ingested
    from carsdepo_assets.data.photographs.expectations import validate_labels
    from carsdepo_assets.lake.annotations import UNREVIEWED

    current_policy = policy.read()
    opened_lake = lake.open()
    result = ingest_labels(opened_lake, context.partition_key, current_policy, datetime.now(UTC))
    frame, refused = result.rows.to_pandas(), result.quarantined.to_pandas()
    labelled = ("image_id", "in", frame["image_id"].unique().tolist())
    sizes = opened_lake.read("images", ["image_id", "width", "height"], [labelled]).to_pandas()
    boxes = frame["boxes"].map(len) if len(frame) else []
    unreviewed = int((frame["state"] == UNREVIEWED).sum()) if len(frame) else 0
    metadata: dict[str, Any] = {
        **stored_table(lake.url, "annotations"),
        "dagster/partition_row_count": len(frame),
        "boxes": int(sum(boxes)),
        "quarantined": len(refused),
        "without_damage": int(sum(n == 0 for n in boxes)) - unreviewed,
        "unreviewed": unreviewed,
        "feedback_reads": ["dataset"],
    }
    if len(refused):
        metadata["quarantine"] = metadata_table(refused[["key", "line", "reason", "detail"]])
    mark_ingested(opened_lake, "labels", context.partition_key, datetime.now(UTC))
    return dg.MaterializeResult(
        data_version=dg.DataVersion(context.partition_key),
        metadata=metadata,
        check_results=[check_result("labels_are_sound", validate_labels(frame, current_policy, sizes))],
    )


@dg.asset(group_name="data", deps=[images, processed_images, labels], kinds={"parquet"})
def dataset(lake: LakeResource, policy: PolicyResource) -> dg.MaterializeResult:
    """The dataset for training: every labelled photograph with its split, group, label revision and batches.

    It is a manifest that never changes. Its version is a digest of its content, so that the same photographs and
    labels give the same version.
    """
    from carsdepo_assets.data.datasets.dataset import MANIFEST, build_dataset

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
            "content_digest": built.summary["content_digest"],
            "dagster/uri": f"{lake.url}/datasets/{built.version}",
            "dagster/column_schema": column_schema(MANIFEST),
            "dagster/row_count": len(frame),
            "splits": metadata_table(counts),
            "licences": metadata_table(built.summary["licences"]),
            "notes": dg.MetadataValue.md("\n".join(f"- {note}" for note in built.summary["notes"]) or "none"),
            "summary": dg.MetadataValue.json(built.summary),
            "manifest": lake.link(f"datasets/{built.version}/manifest.parquet"),
        },
    )
