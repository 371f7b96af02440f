"""Which of a photograph's label revisions counts: the one rule for datasets, live quality and KPIs."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from carsdepo_assets.lake.lake import Lake

UNREVIEWED = "unreviewed"
"""The state of a row whose file says that nobody finished labelling the photograph; null and reviewed are labels."""


def labels_only(annotations: pa.Table) -> pa.Table:
    """The rows that are labels: all but those that nobody has finished, which are kept for the account alone.

    Args:
        annotations: rows of `lake.schemas.ANNOTATIONS`; the column state is needed.
    """
    return annotations.filter(pc.fill_null(pc.not_equal(annotations["state"], UNREVIEWED), True))


def are_labels(lake: Lake) -> str:
    """The same as a condition of SQL over the table `annotations`, which may be of a release without states."""
    stored = "state" in lake.tables.stored_columns("annotations")
    return f"(state IS DISTINCT FROM '{UNREVIEWED}')" if stored else "true"


def labelled_photographs(lake: Lake) -> set[str]:
    """The ids of the photographs that have labels, with damage or reviewed without."""
    rows = labels_only(lake.read("annotations", columns=["image_id", "state"]))
    return set(rows["image_id"].to_pylist())


def latest_revisions(annotations: pa.Table) -> pa.Table:
    """Returns the revision of each photograph's labels that counts: of those that are labels the highest `sequence`.

    Two writers without a common lock (on S3) may give one sequence number twice. Then the later `created_at` decides,
    and of two at the same microsecond the smaller `revision_id`, so that every reader takes the same one.

    Args:
        annotations: rows of `lake.schemas.ANNOTATIONS`; the columns image_id, sequence, created_at, revision_id and
            state are needed, others are kept.

    Returns:
        One row a photograph, with the columns of `annotations`, sorted by image_id.
    """
    annotations = labels_only(annotations)
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
