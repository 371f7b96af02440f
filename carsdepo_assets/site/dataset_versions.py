"""The versions of the dataset and what differs between two of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pyarrow as pa

from carsdepo_assets.lake.datasets import read_manifest, read_summary, version_of
from carsdepo_assets.lake.lake import Lake

_EXAMPLES = 12
_COMPARED = ("image_id", "split", "group_id", "revision_id")
# what changed: the condition on the two manifests, `a` the earlier and `b` the later one
_CHANGES = {
    "added": "a.image_id is null",
    "removed": "b.image_id is null",
    "labels changed": "a.image_id is not null and b.image_id is not null and "
    "a.revision_id is distinct from b.revision_id",
    "split changed": "a.image_id is not null and b.image_id is not null and a.split is distinct from b.split",
    "group changed": "a.image_id is not null and b.image_id is not null and a.group_id is distinct from b.group_id",
}


@dataclass(frozen=True)
class DatasetVersion:
    """A version of the dataset."""

    version: str
    at: datetime
    """When it was built; of a dataset of an earlier release, when its manifest was written, or copied to this place."""
    summary: Mapping[str, Any]
    """Its counts, as stored beside the manifest; empty where they cannot be read."""


@dataclass(frozen=True)
class DatasetChange:
    """One kind of difference between two versions."""

    what: str
    count: int
    examples: tuple[tuple[str, str], ...]
    """Ids of photographs, and the split before and now."""


def dataset_versions(lake: Lake) -> list[DatasetVersion]:
    """All versions, newest first."""
    stored = []
    for info in sorted(lake.list("datasets"), key=lambda info: (info.modified_at, info.key), reverse=True):
        if (version := version_of(info.key)) is not None:
            summary = read_summary(lake, version)
            stored.append(DatasetVersion(version, _built_at(summary) or info.modified_at, summary))
    return sorted(stored, key=lambda one: one.at, reverse=True)


def _built_at(summary: Mapping[str, Any]) -> datetime | None:
    try:
        at = datetime.fromisoformat(summary["built_at"])
    except (KeyError, TypeError, ValueError):
        return None
    return at if at.tzinfo else None


def changes(lake: Lake, before: str, after: str) -> list[DatasetChange]:
    """What differs between two versions, with some photographs of each kind.

    Raises:
        LakeError: one of them is not there, or damaged.
    """
    a, b = (read_manifest(lake, v, _COMPARED) for v in (before, after))
    listed = []
    for what, condition in _CHANGES.items():
        rows = _differing(lake, a, b, condition)
        count = rows[0]["n"] if rows else 0
        examples = tuple((r["image_id"], f"{r['was'] or 'not there'} to {r['now'] or 'not there'}") for r in rows)
        listed.append(DatasetChange(what, int(count), examples))
    return listed


def _differing(lake: Lake, a: pa.Table, b: pa.Table, condition: str) -> list[dict[str, Any]]:
    return list(
        lake.query(
            "select coalesce(a.image_id, b.image_id) as image_id, a.split as was, b.split as now, count(*) over () as n"
            f" from a full join b on a.image_id = b.image_id where {condition} order by 1 limit {_EXAMPLES}",
            a=a, b=b,
        ).to_pylist()
    )  # fmt: skip
