"""Rolls the manifests of old batches up: many small files become few, so that what is listed stays short.

The new file is stored whole before the small ones are removed, and a batch is read from either: a kill in between
leaves some manifests in both places, and the next call removes the small ones.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

from carsdepo_assets.data.batches.batches import open_batches
from carsdepo_assets.data.objects.manifests import (
    BatchManifest,
    Kind,
    list_manifests,
    manifest_key,
    read_manifest,
    read_rolled,
    rolled,
    rolled_folder,
    rolled_up_in,
)
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.lake.locks import one_writer

_OBJECTS_A_FILE = 200_000


def oldest_kept(now: datetime, retention_days: int) -> str:
    """Batches whose ids are smaller than this were closed before the retention began."""
    return f"{now - timedelta(days=retention_days):%Y%m%dT%H%M%S%f}"


def roll_up(lake: Lake, kind: Kind, before: str, objects_a_file: int = _OBJECTS_A_FILE) -> int:
    """Rolls up the manifests of ingested batches that are older.

    Args:
        lake: the lake.
        kind: uploads or labels.
        before: see `oldest_kept`.
        objects_a_file: about so many objects are put into one file.

    Returns:
        The number of manifests that no longer have a file of their own.
    """
    with one_writer(lake, "roll-up"):
        small = list_manifests(lake, kind)
        still_open = set(open_batches(lake, kind)) if small and small[0] < before else set()
        old = [batch for batch in small if batch < before and batch not in still_open]
        twice = _in_files(lake, kind, old)
        for batch in twice:
            lake.delete(manifest_key(kind, batch))
        for part in _parts(lake, kind, [batch for batch in old if batch not in twice], objects_a_file):
            lake.put(f"{rolled_folder(kind)}{part[0].batch_id}_{part[-1].batch_id}.parquet", rolled(part))
            for manifest in part:
                lake.delete(manifest_key(kind, manifest.batch_id))
        return len(old)


def _in_files(lake: Lake, kind: Kind, batches: Sequence[str]) -> set[str]:
    """Those batches that a file of rolled up ones holds already."""
    files = rolled_up_in(lake, kind, batches[0], batches[-1]) if batches else []
    return set(batches) & {manifest.batch_id for key in files for manifest in read_rolled(lake, key)}


def _parts(lake: Lake, kind: Kind, batches: Sequence[str], objects_a_file: int) -> Iterator[list[BatchManifest]]:
    part: list[BatchManifest] = []
    for batch in batches:
        part.append(read_manifest(lake, kind, batch))
        if sum(len(manifest.objects) for manifest in part) >= objects_a_file:
            yield part
            part = []
    if part:
        yield part
