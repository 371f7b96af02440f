"""Maintenance of the tables: merges many small files into few, and removes files that nothing refers to."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import CommitProperties, DeltaTable
from deltalake.exceptions import CommitFailedError

from carsdepo_assets.lake.lake import Lake, LakeError
from carsdepo_assets.lake.objects import is_temporary, walk_folder
from carsdepo_assets.lake.schemas import TABLES

# An append that is still writing has files which no commit names yet: younger files are never touched.
SHORTEST_RETENTION = timedelta(hours=24)
_ATTEMPTS = 3
_TARGET_BYTES = 2**26  # of a data file


@dataclass(frozen=True)
class Compacted:
    """One table whose files were merged."""

    table: str
    """name of the table"""
    files_before: int
    """number of data files before"""
    files_after: int
    """number of data files after"""
    version: int
    """commit of the table that holds the merged files"""


def compact(lake: Lake, tables: Sequence[str] | None = None, min_files: int = 8) -> list[Compacted]:
    """Merges the data files of tables that have many, and writes a checkpoint. Rows stay as they are.

    Appends by other processes may go on meanwhile.

    Args:
        lake: the lake.
        tables: names of the tables; None: all.
        min_files: tables of fewer small data files are left as they are.

    Returns:
        The tables that were rewritten; those that do not exist or have few files are not among them.

    Raises:
        LakeError: other processes kept rewriting the same table.
    """
    compacted = []
    for table in TABLES if tables is None else tables:
        for attempt in range(_ATTEMPTS):
            delta = lake.tables.open(table)
            if delta is None or _small_files(delta) < min_files:
                break
            before = len(delta.file_uris())
            try:
                delta.optimize.compact(
                    target_size=_TARGET_BYTES, commit_properties=CommitProperties(max_commit_retries=30)
                )
            except CommitFailedError as error:
                if attempt == _ATTEMPTS - 1:
                    raise LakeError(f"{table}: not compacted, others keep rewriting it: {error}") from error
                continue
            delta.create_checkpoint()
            compacted.append(Compacted(table, before, len(delta.file_uris()), int(delta.version())))
            break
    return compacted


def needing(lake: Lake, min_files: int) -> list[str]:
    """Names of the tables that `compact` would rewrite."""
    by_name = {table: lake.tables.open(table) for table in TABLES}
    return [table for table, delta in by_name.items() if delta is not None and _small_files(delta) >= min_files]


def _small_files(delta: DeltaTable) -> int:
    """The number of data files below the size that compaction merges them to."""
    sizes = pa.table(delta.get_add_actions(flatten=True))["size_bytes"]
    return int(pc.sum(pc.less(sizes, _TARGET_BYTES)).as_py() or 0)


def vacuum(lake: Lake, retention: timedelta, *, dry_run: bool = False) -> dict[str, list[str]]:
    """Removes files that no version of the tables of the last `retention` needs.

    These are leftovers of killed appends and of killed puts, and the small files that compaction replaced.

    Args:
        lake: the lake.
        retention: younger files are kept; at least 24 hours, and at least as long as anyone reads old versions.
        dry_run: only list the files.

    Returns:
        Paths of the removed files by table; those of unfinished puts under the name "".

    Raises:
        LakeError: the retention is below 24 hours.
    """
    if retention < SHORTEST_RETENTION:
        raise LakeError(f"retention {retention} is below {SHORTEST_RETENTION}: appends under way could lose files.")
    hours = -(-int(retention.total_seconds()) // 3600)
    removed: dict[str, list[str]] = {}
    for table in TABLES:
        delta = lake.tables.open(table)
        if delta is None:
            continue
        paths = delta.vacuum(hours, dry_run=dry_run, enforce_retention_duration=False, full=True)
        if paths:
            removed[table] = sorted(paths)
    unfinished = _unfinished_puts(lake, retention)
    if unfinished:
        removed[""] = unfinished
        if not dry_run and lake.root is not None:
            for key in unfinished:
                (lake.root / key).unlink(missing_ok=True)
    return removed


def _unfinished_puts(lake: Lake, retention: timedelta) -> list[str]:
    """Keys of temporary files that a killed put left in a folder; S3 leaves none."""
    if lake.root is None:
        return []
    limit = time.time() - retention.total_seconds()
    return [key for key, facts in walk_folder(lake.root, "") if is_temporary(key) and facts.st_mtime < limit]
