"""The tables' columns. Append-only: a column may be added (nullable), never renamed or dropped."""

from __future__ import annotations

import pyarrow as pa

_ts = pa.timestamp("us", tz="UTC")

# One row per object of an upload batch, whatever became of it.
UPLOADS = pa.schema(
    [
        ("batch_id", pa.string()),
        ("key", pa.string()),
        ("bytes", pa.int64()),
        ("modified_at", _ts),
        ("sha256", pa.string()),  # null when the object was too large to read
        ("outcome", pa.string()),  # new | duplicate | quarantined
        ("reason", pa.string()),
        ("ingested_at", _ts),
    ]
)

# One row per distinct photograph (the feature store). image_id is the sha256 of the original bytes.
IMAGES = pa.schema(
    [
        ("image_id", pa.string()),
        ("batch_id", pa.string()),
        ("key", pa.string()),
        ("bytes", pa.int64()),
        ("format", pa.string()),
        ("width", pa.int32()),
        ("height", pa.int32()),  # upright, after EXIF
        ("orientation", pa.int32()),
        ("notes", pa.string()),  # what decoding had to do: cmyk, 16-bit ...
        ("luma_mean", pa.float64()),
        ("luma_std", pa.float64()),
        ("luma_p95", pa.float64()),  # 0..255
        ("sharpness", pa.float64()),
        ("saturation", pa.float64()),
        ("colour_cast", pa.float64()),
        ("aspect", pa.float64()),
        ("megapixels", pa.float64()),
        ("bits_per_pixel", pa.float64()),
        ("phash", pa.string()),  # 16 hex digits
        ("captured_at", _ts),
        ("camera", pa.string()),
        ("listing", pa.string()),
        ("group_hint", pa.string()),
        ("make", pa.string()),
        ("year", pa.int32()),
        ("region", pa.string()),
        ("uploader", pa.string()),
        ("light", pa.string()),
        ("ingested_at", _ts),
    ]
)

PROCESSED = pa.schema(
    [
        ("image_id", pa.string()),
        ("batch_id", pa.string()),
        ("object_key", pa.string()),
        ("sha256", pa.string()),
        ("bytes", pa.int64()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("scale", pa.float64()),
    ]
)

BOX = pa.struct(
    [
        ("class_id", pa.int32()),
        ("x1", pa.float64()),
        ("y1", pa.float64()),
        ("x2", pa.float64()),
        ("y2", pa.float64()),
    ]
)

# One row per revision of a photograph's labels; the latest revision counts. Boxes in upright original pixels.
ANNOTATIONS = pa.schema(
    [
        ("revision_id", pa.string()),  # digest of image_id, boxes, class map and origin
        ("image_id", pa.string()),
        ("batch_id", pa.string()),
        ("key", pa.string()),
        ("sha256", pa.string()),
        ("origin", pa.string()),  # yolo | coco | sample | annotator ...
        ("annotator", pa.string()),
        ("class_map_version", pa.int32()),
        ("boxes", pa.list_(BOX)),  # empty: reviewed, no damage
        ("created_at", _ts),
        ("sequence", pa.int64()),  # sequence: order of commit, for "latest"
    ]
)

# One row per photograph when it first enters a dataset; never changed.
SPLITS = pa.schema(
    [
        ("image_id", pa.string()),
        ("group_id", pa.string()),
        ("split", pa.string()),  # train | val | test | test_pool | excluded
        ("reason", pa.string()),
        ("assigned_at", _ts),
    ]
)

QUARANTINE = pa.schema(
    [
        ("batch_id", pa.string()),
        ("key", pa.string()),
        ("kind", pa.string()),  # photograph | label
        ("reason", pa.string()),
        ("detail", pa.string()),
        ("line", pa.int32()),
        ("sha256", pa.string()),
        ("at", _ts),
    ]
)

TABLES: dict[str, pa.Schema] = {
    "uploads": UPLOADS,
    "images": IMAGES,
    "processed": PROCESSED,
    "annotations": ANNOTATIONS,
    "splits": SPLITS,
    "quarantine": QUARANTINE,
}
