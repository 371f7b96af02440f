"""The tables of a lake in memory, for tests of many small batches: half of their time is Delta's opening of tables."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.lake.objects import Objects
from carsdepo_assets.lake.predicates import Condition
from carsdepo_assets.lake.tables import Tables, conform, schema_of

_COMPARED = {"=": pc.equal, ">=": pc.greater_equal, "<": pc.less}
_BY_ITS_COMMITS = "objects"  # its index follows Delta's log, so that it stays in the folder


class MemoryTables(Tables):
    """Tables of one process; nothing is stored."""

    def __init__(self, base: str, options: Mapping[str, str], objects: Objects) -> None:
        super().__init__(base, options, objects)
        self._units: dict[str, dict[str, pa.Table]] = {}

    def append(self, table: str, rows: pa.Table | Sequence[Mapping[str, Any]], unit: str) -> bool:
        """As Tables."""
        if table == _BY_ITS_COMMITS:
            return super().append(table, rows, unit)
        units = self._units.setdefault(table, {})
        if unit in units:
            return False
        units[unit] = conform(table, rows)
        return True

    def committed(self, table: str, unit: str) -> bool:
        """As Tables."""
        return unit in self.committed_of(table, [unit])

    def committed_of(self, table: str, units: Sequence[str]) -> set[str]:
        """As Tables."""
        if table == _BY_ITS_COMMITS:
            return super().committed_of(table, units)
        return {unit for unit in units if unit in self._units.get(table, {})}

    def read(
        self,
        table: str,
        columns: Sequence[str] | None = None,
        where: Sequence[Condition] = (),
        keep: Callable[[pa.Table], pa.Table] | None = None,
    ) -> pa.Table:
        """As Tables."""
        if table == _BY_ITS_COMMITS:
            return super().read(table, columns, where, keep)
        schema = schema_of(table)
        parts = list(self._units.get(table, {}).values())
        rows = pa.concat_tables(parts) if parts else pa.Table.from_batches([], schema=schema)
        for column, how, value in where:
            if how == "in":
                kept = pc.is_in(rows[column], value_set=pa.array(list(value), schema.field(column).type))
            else:
                kept = _COMPARED[how](rows[column], pa.scalar(value, schema.field(column).type))
            rows = rows.filter(kept)
        rows = rows if keep is None or not rows.num_rows else keep(rows)
        return rows.select(list(columns) if columns is not None else schema.names)

    def select(self, sql: str, tables: Sequence[str]) -> list[dict[str, Any]] | None:
        """As Tables."""
        if any(table not in self._units for table in tables):
            return None
        return list(self.query(sql, {table: self.read(table) for table in tables}).to_pylist())

    def stored_columns(self, table: str) -> set[str]:
        """As Tables."""
        if table == _BY_ITS_COMMITS:
            return super().stored_columns(table)
        return set(schema_of(table).names) if table in self._units else set()

    def version(self, table: str) -> int:
        """As Tables."""
        return super().version(table) if table == _BY_ITS_COMMITS else len(self._units.get(table, {})) - 1


def lake_in_memory(folder: Path) -> Lake:
    """A lake whose objects lie in a folder and whose tables in memory."""
    lake = Lake.open(folder)
    lake.tables = MemoryTables(str(folder.resolve() / "tables"), {}, lake.objects)
    return lake
