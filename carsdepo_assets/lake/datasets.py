"""Datasets in the lake: each has a datasets/<version>/manifest.parquet, and datasets/latest.json names the newest."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from carsdepo_assets.lake.lake import Lake, LakeError, ObjectMissing
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
    except (ObjectMissing, ValueError, RecursionError):
        return {}
    return summary if _is_summary(summary) else {}


def _is_summary(stored: Any) -> bool:
    """Whether what is there of a summary's parts is of their kind; a part may be absent."""
    if not isinstance(stored, dict):
        return False
    splits = stored.get("splits", {})
    if not isinstance(splits, dict) or not isinstance(stored.get("notes", []), list):
        return False
    licences = stored.get("licences") or []
    if not isinstance(licences, list) or not all(isinstance(one, dict) for one in licences):
        return False
    return all(_are_counts(part) for part in (stored.get("all", {}), *splits.values()))


def _are_counts(part: Any) -> bool:
    if not isinstance(part, Mapping):
        return False
    boxes = part.get("boxes", {})
    counts = [part.get(name, 0) for name in ("photographs", "groups", "without_damage")]
    return isinstance(boxes, Mapping) and all(
        isinstance(n, int) and not isinstance(n, bool) for n in (*counts, *boxes.values())
    )


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


def read_manifest(lake: Lake, version: str, columns: Sequence[str] | None = None) -> pa.Table:
    """Returns a dataset's manifest: one row a photograph, sorted by image_id, boxes in upright original pixels.

    Args:
        lake: the lake.
        version: the dataset's.
        columns: names of the columns to read; None: all.

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
    try:
        return read_parquet(data, columns=columns)
    except (pa.ArrowException, OSError) as error:
        raise LakeError(
            f"{manifest_key(version)} is damaged and cannot be read ({error}). Put it back from a backup; or remove it "
            "and materialize `dataset`, which builds one of the labels of now."
        ) from error


def versions(lake: Lake) -> list[str]:
    """Returns the versions of all datasets, in order of name."""
    return sorted(version for entry in lake.list("datasets") if (version := version_of(entry.key)) is not None)


def version_of(key: str) -> str | None:
    """Returns the version whose manifest has this key; None of any other key."""
    version = key.partition("/")[2].partition("/")[0]
    return version if version and key == manifest_key(version) else None


def latest(lake: Lake) -> str | None:
    """Returns the newest dataset's version; None before the first."""
    pointer = DatasetPointer.read(lake)
    return None if pointer is None else pointer.version
