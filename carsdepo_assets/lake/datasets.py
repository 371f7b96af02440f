"""Datasets as they lie in the lake: datasets/<version>/manifest.parquet, and datasets/latest.json naming the newest.

latest.json: {"version", "label_state": annotation revisions that its build had seen, "at": when it first had}.
"""

from __future__ import annotations

import io
import json

import pyarrow as pa
import pyarrow.parquet as pq

from carsdepo_assets.lake.lake import Lake

LATEST = "datasets/latest.json"


def manifest_key(version: str) -> str:
    return f"datasets/{version}/manifest.parquet"


def read_manifest(lake: Lake, version: str) -> pa.Table:
    """One row per photograph, sorted by image_id; boxes in upright original pixels. Raises LakeError when absent."""
    return pq.read_table(io.BytesIO(lake.get(manifest_key(version))))


def latest(lake: Lake) -> str | None:
    """The newest dataset's version; None before the first."""
    if not lake.exists(LATEST):
        return None
    return str(json.loads(lake.get(LATEST))["version"])
