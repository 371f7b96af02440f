"""Datasets in the lake: each has a datasets/<version>/manifest.parquet, and datasets/latest.json names the newest."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa

from carsdepo_assets.lake.lake import Lake, ObjectMissing
from carsdepo_assets.lake.parquet import read_parquet
from carsdepo_assets.lake.pointers import DatasetPointer

LATEST = DatasetPointer.KEY


class DatasetErased(ObjectMissing):
    """A dataset, or photographs of it, are not in the lake; the message says which, where, and what to do."""


def manifest_key(version: str) -> str:
    """Returns the key of a dataset's manifest."""
    return f"datasets/{version}/manifest.parquet"


def summary_key(version: str) -> str:
    """Returns the key of a dataset's summary."""
    return f"datasets/{version}/summary.json"


def read_summary(lake: Lake, version: str) -> dict[str, Any]:
    """Returns what a dataset says of itself: counts by split, notes, licences; empty where that is gone or damaged.

    Raises:
        LakeError: the lake cannot be read.
    """
    try:
        summary = json.loads(lake.get(summary_key(version)))
    except (ObjectMissing, ValueError):
        return {}
    return summary if isinstance(summary, dict) else {}


def content_digest_of(lake: Lake, version: str) -> str | None:
    """Returns the digest of a dataset's photographs, boxes and classes, apart from where they came from.

    Returns:
        16 hexadecimal digits; None for a dataset of an earlier release.
    """
    digest = read_summary(lake, version).get("content_digest")
    return None if digest is None else str(digest)


def licences_listed(lake: Lake, version: str) -> list[dict[str, Any]]:
    """Returns the licences that a dataset listed when it was built, as `lake.licences.LicenceCount` has them.

    Returns:
        None of them for a dataset of an earlier release, or one whose summary is gone.
    """
    return list(read_summary(lake, version).get("licences") or ())


def read_manifest(lake: Lake, version: str) -> pa.Table:
    """Returns a dataset's manifest: one row a photograph, sorted by image_id, boxes in upright original pixels.

    Raises:
        DatasetErased: there is no such dataset.
        LakeError: it cannot be read.
    """
    try:
        data = lake.get(manifest_key(version))
    except ObjectMissing as error:
        raise DatasetErased(
            f"Dataset {version} is not in the lake {lake.url}: its {manifest_key(version)} was erased, or never "
            "written. Materialize `dataset`, which builds it of the labels of now."
        ) from error
    return read_parquet(data)


def versions(lake: Lake) -> list[str]:
    """Returns the versions of all datasets, in order of name."""
    suffix = f"/{manifest_key('').rpartition('/')[2]}"
    return sorted(entry.key.split("/")[1] for entry in lake.list("datasets") if entry.key.endswith(suffix))


def latest(lake: Lake) -> str | None:
    """Returns the newest dataset's version; None before the first."""
    pointer = DatasetPointer.read(lake)
    return None if pointer is None else pointer.version
