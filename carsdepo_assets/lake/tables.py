"""Append-only Delta tables. Each append carries the name of its unit of work, and a unit is committed only once.

The name is stored as Delta's application transaction. Delta itself refuses a second commit of the same one (measured:
of 4 processes at once, one commits), and appends of different units do not conflict, so no lock is needed, neither on
a folder nor on S3.

Opening a table reads its log, so each lake keeps an opened table and has it read the commits that came since. One that
is in use is nobody else's, as it changes while it is brought up to date: who needs the same table meanwhile, in another
thread, opens it anew.
"""

from __future__ import annotations

import json
import random
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, QueryBuilder, Transaction, write_deltalake
from deltalake.exceptions import DeltaError, TableNotFoundError

from carsdepo_assets.lake.objects import LakeError, Objects, fsync_path
from carsdepo_assets.lake.predicates import Condition, long_lists, rows_in, sql_of
from carsdepo_assets.lake.schemas import TABLES

_ATTEMPTS = 8  # of one append, each with Delta's own retries inside
_COMMIT_RETRIES = 30  # blind appends that lost the race for a version number


def schema_of(table: str) -> pa.Schema:
    """Returns the columns of a table. Raises LakeError, naming the tables there are, for an unknown one."""
    try:
        return TABLES[table]
    except KeyError:
        raise LakeError(f"{table}: no such table. Tables: {', '.join(sorted(TABLES))}.") from None


def conform(table: str, rows: pa.Table | Sequence[Mapping[str, Any]]) -> pa.Table:
    """Returns the rows with exactly the table's columns and types.

    Args:
        table: name of the table.
        rows: an Arrow table, or one mapping a row; a column that is left out becomes null.

    Raises:
        LakeError: a column is unknown or comes twice, or a value does not fit its column's type.
    """
    schema = schema_of(table)
    if isinstance(rows, pa.Table):
        names: set[str] = set(rows.column_names)
        if len(names) != rows.num_columns:
            raise LakeError(f"{table}: a column comes twice: {rows.column_names}.")
    else:
        names = {name for row in rows for name in row}
    unknown = sorted(names - set(schema.names))
    if unknown:
        raise LakeError(f"{table}: no column {', '.join(unknown)}. Columns are added in lake/schemas.py.")
    columns = []
    for column in schema:
        try:
            if not isinstance(rows, pa.Table):
                values = [row.get(column.name) for row in rows]
                _refuse_fractions(values, column.type)
                columns.append(pa.array(values, type=column.type))
            elif column.name in names:
                columns.append(rows[column.name].cast(column.type))
            else:
                columns.append(pa.nulls(rows.num_rows, type=column.type))
        except (pa.ArrowException, TypeError, ValueError, OverflowError, AttributeError) as error:
            raise LakeError(f"{table}.{column.name}: does not fit {column.type}: {error}") from error
    return pa.Table.from_arrays(columns, schema=schema)


def _refuse_fractions(values: list[Any], kind: pa.DataType) -> None:
    """Raises ValueError where a fraction is given for an integer column: Arrow would cut it off silently."""
    present = [v for v in values if v is not None]
    if pa.types.is_list(kind):
        _refuse_fractions([item for v in present for item in v], kind.value_type)
    elif pa.types.is_struct(kind):
        for i in range(kind.num_fields):
            _refuse_fractions([v.get(kind.field(i).name) for v in present], kind.field(i).type)
    elif pa.types.is_integer(kind):
        for v in present:
            if v != v or v % 1:
                raise ValueError(f"{v!r} is not a whole number")


@dataclass(frozen=True)
class _Kept:
    """An opened table that nobody uses now."""

    delta: DeltaTable
    mark: str
    """Of its newest commit; see Tables.mark."""


class Tables:
    """The tables of one lake.

    Args:
        base: the folder or s3:// URL below which each table is a folder.
        options: settings of the object store (keys, endpoint), for S3.
        objects: of the same lake; the tables are below `tables/` in it.
    """

    def __init__(self, base: str, options: Mapping[str, str], objects: Objects) -> None:
        self._base, self._root, self._objects = base.rstrip("/"), objects.root, objects
        self._options = {**options, "aws_conditional_put": "etag"} if self._root is None else None
        # One a table at most. There is no lock, since the two operations on it, pop and set, are atomic each.
        self._kept: dict[str, _Kept] = {}

    def mark(self, table: str, version: int) -> str | None:
        """Size, time and ETag of a commit's file: another table in the same place has another one.

        Returns:
            None where the log has no such file: the commit was not made, or is older than what the log keeps.
        """
        info = self._objects.info(f"tables/{table}/_delta_log/{version:020d}.json") if version >= 0 else None
        return None if info is None else f"{info.size} {info.modified_at.timestamp():.6f} {info.etag or ''}"

    def open(self, table: str) -> DeltaTable | None:
        """Opens a table at its newest commit, for the caller alone; None when it does not exist yet."""
        schema_of(table)
        try:
            return DeltaTable(self._uri(table), storage_options=self._options)
        except TableNotFoundError:
            return None
        except (DeltaError, OSError) as error:
            raise LakeError(f"{table}: cannot be opened at {self._uri(table)}: {error}") from error

    @contextmanager
    def _lent(self, table: str) -> Iterator[DeltaTable | None]:
        """Lends a table at its newest commit for a block; None when it does not exist."""
        delta = self._take(table)
        yield delta
        if delta is not None:  # and not after an exception: what the block left then, nobody knows
            self._give_back(table, delta)

    def _take(self, table: str) -> DeltaTable | None:
        """A table at its newest commit, which nobody else has; None when it does not exist."""
        schema_of(table)
        kept = self._kept.pop(table, None)
        if kept is not None:
            before = int(kept.delta.version())
            try:
                kept.delta.update_incremental()
                # After the update, which sees nothing of a table that was removed and made again: it would go on with
                # that one's later commits. A log that was cleaned up lacks the commit, too.
                if self.mark(table, before) == kept.mark:
                    return kept.delta
            except (DeltaError, OSError, LakeError):
                pass  # opening it says what is wrong
        return self.open(table)

    def _give_back(self, table: str, delta: DeltaTable) -> None:
        """Keeps a table for the next who needs it."""
        try:
            mark = self.mark(table, int(delta.version()))
        except LakeError:
            return  # the next one opens it, and hears what is wrong
        if mark is not None:
            self._kept[table] = _Kept(delta, mark)

    def append(self, table: str, rows: pa.Table | Sequence[Mapping[str, Any]], unit: str) -> bool:
        """Adds the rows as one commit; False when the unit was committed before, by this process or another."""
        data = conform(table, rows)
        app_id = _app_id(table, unit)
        trouble: Exception | None = None
        for attempt in range(_ATTEMPTS):
            if attempt:
                time.sleep(random.uniform(0, 0.05 * 2**attempt))
            delta = self._take(table) or self._create(table)
            if delta.transaction_version(app_id) is not None:
                self._give_back(table, delta)
                return False
            stored = {field.name for field in delta.schema().fields}
            try:
                write_deltalake(
                    delta,
                    data,
                    mode="append",
                    # A column that was added to the schema after the table was created comes in with the next append.
                    schema_mode="merge" if not stored.issuperset(data.column_names) else None,
                    commit_properties=CommitProperties(
                        app_transactions=[Transaction(app_id, 1)], max_commit_retries=_COMMIT_RETRIES
                    ),
                )
            except (DeltaError, OSError) as error:
                # Another process may have committed this unit, or our commit stood and only its answer was lost:
                # the next round opens the table anew and looks.
                trouble = error
                continue
            self._settle(table, delta)
            self._give_back(table, delta)
            return True
        raise LakeError(f"{table}: unit {unit} was not committed after {_ATTEMPTS} attempts: {trouble}") from trouble

    def committed(self, table: str, unit: str) -> bool:
        """Whether the unit has been appended to the table."""
        return bool(self.committed_of(table, [unit]))

    def read(
        self,
        table: str,
        columns: Sequence[str] | None = None,
        where: Sequence[Condition] = (),
        keep: Callable[[pa.Table], pa.Table] | None = None,
    ) -> pa.Table:
        """Returns rows, in no particular order; columns that the stored table does not have yet are null.

        Args:
            table: name of the table.
            columns: names of the columns; None: all.
            where: conditions that the rows meet.
            keep: called with some rows at a time, returns those of them that are kept; for what no condition says.
        """
        full = schema_of(table)
        asked = full.names if columns is None else list(columns)
        unknown = sorted({*asked, *(column for column, _, _ in where)} - set(full.names))
        if unknown:
            raise LakeError(f"{table}: no column {', '.join(unknown)}. It has: {', '.join(full.names)}.")
        schema = pa.schema([full.field(name) for name in asked])
        with self._lent(table) as delta:
            return self._rows(table, delta, asked, schema, where, keep)

    def _rows(
        self,
        table: str,
        delta: DeltaTable | None,
        asked: Sequence[str],
        schema: pa.Schema,
        where: Sequence[Condition],
        keep: Callable[[pa.Table], pa.Table] | None,
    ) -> pa.Table:
        full = schema_of(table)
        there = {field.name for field in delta.schema().fields} if delta is not None else set()
        if delta is None or any(column not in there for column, _, _ in where):  # a null meets no condition
            return pa.Table.from_batches([], schema=schema)  # empty_table() would import pandas
        lists = [(column, pa.array(values, full.field(column).type)) for column, values in long_lists(where)]
        wanted = [n for n in full.names if n in there and (n in asked or n in dict(lists))] or sorted(there)[:1]
        columns_sql = ", ".join(f'"{name}"' for name in wanted)
        try:
            # DataFusion's reader and not to_pyarrow_dataset: that one reads through a Python file system in Arrow's own
            # threads, which aborts one process in seven when it ends soon after reading from S3.
            stream = QueryBuilder().register("t", delta).execute(f"SELECT {columns_sql} FROM t{sql_of(where)}")
            reader = pa.RecordBatchReader.from_stream(stream)
            if not lists and keep is None:
                return of_schema(reader.read_all(), schema)  # pa.table() would import pandas
            held = pa.schema([full.field(name) for name in wanted])
            parts = [rows_in(of_schema(pa.Table.from_batches([batch]), held), lists) for batch in reader]
            parts = parts if keep is None else [keep(part) for part in parts if part.num_rows]
        except (DeltaError, OSError, pa.ArrowException) as error:
            raise LakeError(f"{table}: cannot be read: {error}") from error
        return of_schema(pa.concat_tables(parts) if parts else pa.Table.from_batches([], schema=held), schema)

    def select(self, sql: str, tables: Sequence[str]) -> list[dict[str, Any]] | None:
        """Runs SQL over whole tables where they lie, and returns its rows, which are to be few.

        Args:
            sql: in DataFusion's dialect, over `tables` by their names; columns that a stored table does not have yet
                are unknown to it.
            tables: names of tables.

        Returns:
            None where one of the tables does not exist yet.
        """
        builder = QueryBuilder()
        with ExitStack() as open_tables:
            for table in tables:
                delta = open_tables.enter_context(self._lent(table))
                if delta is None:
                    return None
                builder = builder.register(table, delta)
            try:
                return list(pa.RecordBatchReader.from_stream(builder.execute(sql)).read_all().to_pylist())
            except (DeltaError, OSError, pa.ArrowException) as error:
                raise LakeError(f"{', '.join(tables)}: cannot be read: {error}") from error

    def committed_of(self, table: str, units: Sequence[str]) -> set[str]:
        """Those of some units that have been appended to the table."""
        with self._lent(table) as delta:
            if delta is None:
                return set()
            return {unit for unit in units if delta.transaction_version(_app_id(table, unit)) is not None}

    def stored_columns(self, table: str) -> set[str]:
        """Names of the columns that a table was stored with so far; none when it does not exist."""
        with self._lent(table) as delta:
            return set() if delta is None else {field.name for field in delta.schema().fields}

    def version(self, table: str) -> int:
        """Returns the number of the table's last commit; -1 when it does not exist."""
        with self._lent(table) as delta:
            return -1 if delta is None else int(delta.version())

    def bounds(self, table: str, column: str, rows: int) -> list[str]:
        """Values of a text column, in order, between which about so many rows lie, as the table's log tells.

        It knows the smallest value of each data file. Where files overlap, as those of names in no order do, there are
        fewer bounds and more rows between them.
        """
        with self._lent(table) as delta:
            if delta is None:
                return []
            files = pa.table(delta.get_add_actions(flatten=True))
        if f"min.{column}" not in files.column_names:
            return []
        smallest, counts = (files[name].to_pylist() for name in (f"min.{column}", "num_records"))
        bounds, before = list[str](), 0
        for value, count in sorted((str(v), n or 0) for v, n in zip(smallest, counts, strict=True) if v is not None):
            if before >= rows and (not bounds or value > bounds[-1]):
                bounds.append(value)
                before = 0
            before += count
        return bounds

    def query(self, sql: str, given: Mapping[str, pa.Table]) -> pa.Table:
        """Runs DuckDB's SQL over the given Arrow tables and those tables of the lake that the SQL names."""
        import duckdb

        words = set(re.findall(r"\w+", sql))
        sources = {name: self.read(name) for name in TABLES if name in words and name not in given} | dict(given)
        # No files, no network, no Python variables by name: the SQL sees the tables handed to it.
        config = {"python_enable_replacements": "false", "autoinstall_known_extensions": "false"}
        with duckdb.connect(config=config) as connection:
            connection.execute("SET enable_external_access = false; SET TimeZone = 'UTC'")
            for name, rows in sources.items():
                connection.register(name, rows)
            try:
                return connection.execute(sql).to_arrow_table()
            except duckdb.Error as error:
                raise LakeError(f"query failed: {error}\n{sql}") from error

    def _uri(self, table: str) -> str:
        return f"{self._base}/{table}"

    def _create(self, table: str) -> DeltaTable:
        try:
            if self._root is not None:
                (self._root / "tables").mkdir(parents=True, exist_ok=True)
            return DeltaTable.create(
                self._uri(table), schema_of(table), mode="error", storage_options=self._options,
                configuration={"delta.appendOnly": "true"},
                # Version 0 or nothing: with retries a loser of the race commits a second creation as version 1.
                commit_properties=CommitProperties(max_commit_retries=0),
            )  # fmt: skip
        except (DeltaError, OSError) as error:
            delta = self.open(table)  # another process was first
            if delta is None:
                raise LakeError(f"{table}: cannot be created at {self._uri(table)}: {error}") from error
            return delta

    def _settle(self, table: str, delta: DeltaTable) -> None:
        """On a folder, forces the commit to the disk (Delta renames, but does not fsync): rows first, then the log."""
        if self._root is None:
            return
        folder = self._root / "tables" / table
        log = folder / "_delta_log" / f"{delta.version():020d}.json"
        if not log.exists():  # compacted and cleaned by another process meanwhile: nothing of ours is left to force
            return
        for line in log.read_text().splitlines():
            added = json.loads(line).get("add")
            if added and (folder / added["path"]).exists():
                fsync_path(folder / added["path"])
        for path in (folder, log, log.parent, folder.parent):
            fsync_path(path)


def of_schema(stored: pa.Table, schema: pa.Schema) -> pa.Table:
    """The columns of a schema, in its types; null where they are not stored."""
    arrays = [
        stored[f.name].cast(f.type) if f.name in stored.column_names else pa.nulls(stored.num_rows, f.type)
        for f in schema
    ]
    return pa.Table.from_arrays(arrays, schema=schema)


def _app_id(table: str, unit: str) -> str:
    if not unit:
        raise LakeError(f"{table}: an append needs a unit, for example the batch's id.")
    return f"{table}:{unit}"
