"""Reads the photographs with what is known of them now: a corrected manifest.csv counts over what was read at first.

And says where the copy of each lies.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from carsdepo_assets.lake.data_schemas import IMAGES, METADATA_FIELDS
from carsdepo_assets.lake.lake import Lake


def read_images(lake: Lake, columns: Sequence[str] | None = None, image_ids: Collection[str] | None = None) -> pa.Table:
    """Returns the rows of `images`, with group, listing, camera and the like as they were corrected last.

    Whatever needs a column of METADATA_FIELDS reads it by this function. The other columns are measured on the
    photograph and never change, so that `lake.read("images", ...)` does for them.

    Args:
        lake: whose tables are read.
        columns: names of columns of IMAGES; None: all.
        image_ids: of the photographs that are asked for; None: all.

    Raises:
        LakeError: a column is unknown, or a table cannot be read.
    """
    columns = list(IMAGES.names if columns is None else columns)
    corrected = [name for name in columns if name in METADATA_FIELDS]
    where: Sequence[tuple[str, str, Any]] = () if image_ids is None else [("image_id", "in", image_ids)]
    images = lake.read("images", list(dict.fromkeys(["image_id", *columns])), where)
    if corrected:
        latest = latest_metadata(lake.read("metadata", ["image_id", "sequence", "corrected_at", *corrected], where))
        if latest.num_rows:
            place = pc.index_in(images["image_id"], value_set=latest["image_id"].combine_chunks())
            for name in corrected:
                now = pc.if_else(pc.is_valid(place), latest[name].combine_chunks().take(place), images[name])
                images = images.set_column(images.schema.get_field_index(name), IMAGES.field(name), now)
    return images.select(columns)


def object_key(image_id: str) -> str:
    """Returns the key of a photograph's processed copy."""
    return f"objects/{image_id[:2]}/{image_id}.jpg"


def latest_metadata(metadata: pa.Table) -> pa.Table:
    """Returns the correction of each photograph that counts: the one with the highest `sequence`.

    Two writers without a common lock (on S3) may give one number twice; then the later `corrected_at` counts.

    Args:
        metadata: rows of METADATA; the columns image_id, sequence and corrected_at are needed, others are kept.
    """
    if metadata.num_rows == 0:
        return metadata
    ordered = metadata.sort_by([("image_id", "ascending"), ("sequence", "descending"), ("corrected_at", "descending")])
    ids = ordered["image_id"].combine_chunks()
    return ordered.filter(pa.concat_arrays([pa.array([True]), pc.not_equal(ids[1:], ids[:-1])]))
