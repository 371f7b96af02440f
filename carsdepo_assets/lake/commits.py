"""Reads what was appended to a table since a position in its log, and nothing else: for indexes that follow a table.

A Delta table's log has one file a commit, whose actions name the data files that the commit added. Looking whether
there is a next one costs one look at one file, however large the table is.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from urllib.parse import unquote

import pyarrow as pa

from carsdepo_assets.lake.lake import Lake, LakeError
from carsdepo_assets.lake.parquet import read_parquet
from carsdepo_assets.lake.tables import of_schema, schema_of


@dataclass(frozen=True)
class Position:
    """How far a table was read."""

    version: int
    """The last commit that was read; -1 before the first."""
    mark: str
    """Size, time and ETag of that commit's file: another table in the same place has another one."""


@dataclass(frozen=True)
class News:
    """What was read."""

    rows: list[pa.Table]
    """One table a commit, in order of commit."""
    position: Position
    whole: bool
    """Whether the log does not go on from the position that was given: then there are no rows here, and the caller
    reads the whole table, which may be further than the new position by now."""


def news(lake: Lake, table: str, since: Position | None) -> News:
    """The rows that were appended since a position. Compaction adds none.

    Args:
        lake: the lake.
        table: name of the table.
        since: the position of an earlier call; None: there was none.

    Raises:
        LakeError: the table cannot be read.
    """
    if since is None or (since.version >= 0 and lake.tables.mark(table, since.version) != since.mark):
        return _whole(lake, table)
    parts: list[pa.Table] = []
    version = since.version
    while (mark := lake.tables.mark(table, version + 1)) is not None:
        rows = _rows_of(lake, table, version + 1)
        if rows is None:
            return _whole(lake, table)
        parts += rows
        version, since = version + 1, Position(version + 1, mark)
    if since.version < 0 and lake.version(table) >= 0:  # its first commits are no longer in the log
        return _whole(lake, table)
    return News(parts, since, False)


def _whole(lake: Lake, table: str) -> News:
    version = lake.version(table)  # before the caller reads: a commit in between is read twice and not never
    return News([], Position(version, lake.tables.mark(table, version) or ""), True)


def _log(table: str, version: int) -> str:
    return f"tables/{table}/_delta_log/{version:020d}.json"


def _rows_of(lake: Lake, table: str, version: int) -> list[pa.Table] | None:
    """The rows that a commit added; None where its files are gone, or it took rows away."""
    try:
        actions = [json.loads(line) for line in lake.get(_log(table, version)).splitlines() if line.strip()]
        if any(action.get("remove", {}).get("dataChange") for action in actions):
            return None
        added = [action["add"]["path"] for action in actions if action.get("add", {}).get("dataChange")]
        files = [read_parquet(lake.get(f"tables/{table}/{unquote(path)}")) for path in added]
        return [of_schema(file, schema_of(table)) for file in files if file.num_rows]
    except (LakeError, ValueError, pa.ArrowException, OSError):
        return None
