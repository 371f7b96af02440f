"""Datasets as they lie in the lake: datasets/<version>/manifest.parquet; datasets/latest.json names the newest."""

from __future__ import annotations

import io

import pyarrow as pa
import pyarrow.parquet as pq

from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.lake.pointers import DatasetPointer

LATEST = DatasetPointer.KEY


def manifest_key(version: str) -> str:
    return f"datasets/{version}/manifest.parquet"


def read_manifest(lake: Lake, version: str) -> pa.Table:
    """One row per photograph, sorted by image_id; boxes in upright original pixels. Raises LakeError when absent."""
    return pq.read_table(io.BytesIO(lake.get(manifest_key(version))))


def latest(lake: Lake) -> str | None:
    """The newest dataset's version; None before the first."""
    pointer = DatasetPointer.read(lake)
    return None if pointer is None else pointer.version
