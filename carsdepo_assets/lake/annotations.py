"""Which label revisions are labels, and which is a photograph's latest; label_conflicts.py says which counts."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from carsdepo_assets.lake.lake import Lake

UNREVIEWED = "unreviewed"
"""The state of a row whose file says that nobody finished labelling the photograph; null and reviewed are labels."""
WITHDRAWN = "withdrawn"
"""The state of a row that says that what the same file (key) said earlier about the photograph counts no more."""


def labels_only(annotations: pa.Table) -> pa.Table:
    """The rows that are labels: all but those that nobody has finished, which are kept for the account alone, those
    that were withdrawn, and those that withdraw them.

    Args:
        annotations: rows of `lake.schemas.ANNOTATIONS`, all of a photograph or none; the columns image_id, key,
            sequence and state are needed.
    """
    withdrawals = annotations.filter(pc.fill_null(pc.equal(annotations["state"], WITHDRAWN), False))
    labels = annotations.filter(pc.fill_null(pc.not_equal(annotations["state"], UNREVIEWED), True))
    if withdrawals.num_rows == 0:
        return labels
    until: dict[tuple[str, str], int] = {}
    for row in withdrawals.select(["image_id", "key", "sequence"]).to_pylist():
        of = row["image_id"], row["key"]
        until[of] = max(until.get(of, row["sequence"]), row["sequence"])
    concerned = pc.is_in(labels["image_id"], value_set=withdrawals["image_id"].combine_chunks())
    rest = labels.filter(concerned)
    facts = zip(*(rest[name].to_pylist() for name in ("image_id", "key", "sequence")), strict=True)
    stands = [sequence > until.get((image_id, key), -1) for image_id, key, sequence in facts]
    return pa.concat_tables([labels.filter(pc.invert(concerned)), rest.filter(pa.array(stands, pa.bool_()))])


def are_labels(lake: Lake) -> str:
    """A condition of SQL over the table `annotations`, which may be of a release without states: its rows are labels,
    or withdraw some. Their number grows with each change of the labels."""
    stored = "state" in lake.tables.stored_columns("annotations")
    return f"(state IS DISTINCT FROM '{UNREVIEWED}')" if stored else "true"


def labelled_photographs(lake: Lake) -> set[str]:
    """The ids of the photographs that have labels, with damage or reviewed without."""
    rows = labels_only(lake.read("annotations", columns=["image_id", "key", "sequence", "state"]))
    return set(rows["image_id"].to_pylist())


def latest_revisions(annotations: pa.Table) -> pa.Table:
    """Returns the revision of each photograph's labels that counts: of those that are labels the highest `sequence`.

    Two writers without a common lock (on S3) may give one sequence number twice. Then the later `created_at` decides,
    and of two at the same microsecond the smaller `revision_id`, so that every reader takes the same one.

    Args:
        annotations: rows of `lake.schemas.ANNOTATIONS`; the columns image_id, key, sequence, created_at, revision_id
            and state are needed, others are kept.

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


def latest_by_key(annotations: pa.Table) -> pa.Table:
    """The last revision that each label file gave each photograph, of those that are labels.

    Args:
        annotations: as `labels_only` takes them; other columns are kept.
    """
    labels = labels_only(annotations).sort_by([("sequence", "ascending")])
    last = {of: i for i, of in enumerate(zip(labels["image_id"].to_pylist(), labels["key"].to_pylist(), strict=True))}
    return labels.take(pa.array(sorted(last.values()), pa.int64()))
