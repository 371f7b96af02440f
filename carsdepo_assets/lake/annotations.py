"""Which of a photograph's label revisions counts: the one rule for datasets, live quality and KPIs."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc


def latest_revisions(annotations: pa.Table) -> pa.Table:
    """Returns the revision of each photograph's labels that counts: the one with the highest `sequence`.

    Two writers without a common lock (on S3) may give one sequence number twice. Then the later `created_at` decides,
    and of two at the same microsecond the smaller `revision_id`, so that every reader takes the same one.

    Args:
        annotations: rows of `lake.schemas.ANNOTATIONS`; the columns image_id, sequence, created_at and revision_id are
            needed, others are kept.

    Returns:
        One row a photograph, with the columns of `annotations`, sorted by image_id.
    """
    if annotations.num_rows == 0:
        return annotations
    ordered = annotations.sort_by(
        [
            ("image_id", "ascending"),
            ("sequence", "descending"),
            ("created_at", "descending"),
            ("revision_id", "ascending"),
        ]
    )
    ids = ordered["image_id"].combine_chunks()
    first_of_its_photograph = pc.not_equal(ids[1:], ids[:-1])
    return ordered.filter(pa.concat_arrays([pa.array([True]), first_of_its_photograph]))
