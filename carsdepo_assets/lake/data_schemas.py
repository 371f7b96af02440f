"""The columns of the tables of the data step: files, photographs, labels, splits, imports and their licences.

See `lake.schemas` for the other tables, for the rules of all, and for what key, image_id and object_key name.
"""

from __future__ import annotations

import pyarrow as pa

_ts = pa.timestamp("us", tz="UTC")

# What is known of each file in raw/uploads and raw/labels, and of each batch: the one record of what is new. Of the
# rows of a key the one with the highest (batch_id, sequence) counts; a row without batch_id is a file that waits for
# its batch, or is gone, beside what an earlier batch has of its key.
OBJECTS = pa.schema(
    [
        ("key", pa.string()),  # of the file; of a batch its manifest's
        ("kind", pa.string()),  # uploads | labels; of a batch the same
        ("size", pa.int64()),  # bytes; null for a batch
        ("modified_at", _ts),
        ("etag", pa.string()),  # S3's; null in a folder
        ("sha256", pa.string()),  # null: not read yet, or not readable
        ("batch_id", pa.string()),
        # Of a file: waiting | batched | image | duplicate | read | quarantined | gone. Of a batch: closed | ingested.
        ("state", pa.string()),
        ("reason", pa.string()),  # of quarantined
        ("record", pa.string()),  # of labels: digest of the import record, or of what lists of names mean; null: none
        ("wants", pa.list_(pa.string())),  # of quarantined labels: the photographs that were not there
        ("sequence", pa.int64()),  # order of commit
        ("at", _ts),
    ]
)

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

# What people and their tools say of a photograph, apart from what is measured on it.
METADATA_FIELDS = (
    "camera",
    "listing",
    "group_hint",
    "make",
    "region",
    "uploader",
    "light",
    "year",
    "captured_at",
)

# One row per photograph and correction: what manifest.csv and sidecars say of it since one of them was corrected. The
# latest row of a photograph counts over these columns of IMAGES, all of them (see lake/image_metadata.py).
METADATA = pa.schema(
    [
        ("image_id", pa.string()),
        *[IMAGES.field(name) for name in METADATA_FIELDS],
        ("key", pa.string()),  # of the file that was corrected
        ("sha256", pa.string()),  # of that file
        ("corrected_at", _ts),
        ("sequence", pa.int64()),  # order of commit, for "latest"
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

# A box around what looks like damage and is none; cause: a name of policy.class_map.not_damage.
NEGATIVE_BOX = pa.struct([("cause", pa.string()), *[f for f in BOX if f.name != "class_id"]])

# One row per revision of a photograph's labels; the latest revision that is a label counts (see lake/annotations.py).
# Boxes in upright original pixels.
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
        # reviewed (null: the same) | unreviewed: its file says that nobody finished it; no label | withdrawn: what the
        # same key said before about the photograph is no label any more
        ("state", pa.string()),
        ("negatives", pa.list_(NEGATIVE_BOX)),  # null: none
    ]
)

# One row per photograph when it first enters a dataset. A further row is written where a corrected group would join two
# splits (it says `excluded`) or two groups of one split; see data/datasets/corrected_groups.py. No other row counts.
SPLITS = pa.schema(
    [
        ("image_id", pa.string()),
        ("group_id", pa.string()),
        ("split", pa.string()),  # train | val | test | test_pool | excluded
        ("reason", pa.string()),
        ("assigned_at", _ts),
        ("declared", pa.string()),  # train | val | test, as its import said it; null: nothing did
    ]
)

QUARANTINE = pa.schema(
    [
        ("batch_id", pa.string()),
        ("key", pa.string()),
        ("kind", pa.string()),  # photograph | label | business
        ("reason", pa.string()),
        ("detail", pa.string()),
        ("line", pa.int32()),
        ("sha256", pa.string()),
        ("at", _ts),
    ]
)

# One row per import of a folder, when it has been ingested: what became of each of its files.
IMPORTS = pa.schema(
    [
        ("import_id", pa.string()),
        ("at", _ts),
        ("name", pa.string()),  # its folders are raw/uploads/NAME and raw/labels/NAME
        ("folder", pa.string()),  # the imported folder's own name
        ("format", pa.string()),  # of the labels; empty: there were none
        ("layout", pa.string()),  # where photographs and labels lay
        ("class_names", pa.string()),  # JSON: what became of each class, one line each
        ("counts", pa.string()),  # JSON: files by kind and state
        ("account", pa.string()),  # JSON: the whole account
    ]
)

# One row per statement of a licence. Nothing is taken back: all statements about a photograph count (lake/licences.py).
LICENCES = pa.schema(
    [
        ("statement_id", pa.string()),  # digest of scope, licence and who claims it
        ("at", _ts),
        ("scope", pa.string()),  # key of a photograph, or of a folder of raw/uploads or raw/labels, ending in a slash
        ("licence", pa.string()),  # an SPDX expression; else as it was written
        ("is_spdx", pa.bool_()),  # whether it is an SPDX expression
        ("claimed_by", pa.string()),  # the file that says it, or a person
        ("written", pa.string()),  # as it was written
        ("import_name", pa.string()),
    ]
)
