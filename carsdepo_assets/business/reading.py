"""Reads the bytes of a business file as typed rows, and lists the lines that were refused with their reasons."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from carsdepo_assets.business.contracts import BadCell, Contract, cell
from carsdepo_assets.policy import Policy

Row = dict[str, Any]
SUFFIXES = (".csv", ".parquet")


@dataclass(frozen=True)
class RefusedLine:
    """A row, or a whole file, that cannot be used."""

    line: int | None
    """The line on which the row begins, from 1 (in Parquet the row's number); None: the whole file."""
    reason: str
    """A short name for statistics, such as `not_a_time`."""
    detail: str
    """What is wrong, for people."""


@dataclass
class Read:
    """What a file holds."""

    rows: list[Row] = field(default_factory=list)
    """The good rows in the file's order: the contract's columns, and `line`."""
    refused: list[RefusedLine] = field(default_factory=list)
    """What cannot be used."""
    seen: int = 0
    """The number of rows in the file, good or bad."""


class _WholeFile(ValueError):
    def __init__(self, reason: str, detail: str, line: int | None = None) -> None:
        super().__init__(detail)
        self.reason, self.line = reason, line


def read(contract: Contract, key: str, data: bytes, policy: Policy) -> Read:
    """Reads a file. Bad content raises nothing; it is listed in `refused`.

    Args:
        contract: The columns of this kind of file.
        key: The file's key in the lake; its ending names the format.
        data: The file's bytes.
        policy: The policy, for the currency of rows that name none.
    """
    contents = Read()
    suffix = PurePosixPath(key).suffix.lower()
    try:
        if suffix == ".csv":
            lines = _csv(contract, data)
        elif suffix == ".parquet":
            lines = _parquet(contract, data)
        else:
            raise _WholeFile("unsupported_format", f"{suffix or 'no suffix'}: business files are .csv or .parquet")
        for line, values in lines:
            contents.seen += 1
            if isinstance(values, str):
                contents.refused.append(RefusedLine(line, "columns", values))
                continue
            try:
                row = {column.name: cell(column, values.get(column.name)) for column in contract.columns}
            except BadCell as error:
                contents.refused.append(RefusedLine(line, error.reason, str(error)))
                continue
            for column in contract.columns:
                if column.default == "currency" and row[column.name] is None:
                    row[column.name] = policy.business.currency
            contents.rows.append(row | {"line": line})
    except _WholeFile as error:
        contents.refused.append(RefusedLine(error.line, error.reason, str(error)))
    return contents


def _csv(contract: Contract, data: bytes) -> Iterator[tuple[int, Row | str]]:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _WholeFile("encoding", f"not UTF-8 at byte {error.start}: save the file as UTF-8") from None
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    header: list[str] | None = None
    begin = 1
    try:
        for cells in reader:
            line, begin = begin, reader.line_num + 1
            if not any(c.strip() for c in cells):
                continue
            if header is None:
                header = [c.strip() for c in cells]
                _check_header(contract, header)
            elif len(cells) != len(header):
                yield line, f"{len(cells)} cells where the header has {len(header)}"
            else:
                yield line, dict(zip(header, cells, strict=True))
    except csv.Error as error:
        raise _WholeFile("malformed", f"{error}; nothing is read from here on", begin) from None
    if header is None:
        raise _WholeFile("empty", "there is no header line")


def _parquet(contract: Contract, data: bytes) -> Iterator[tuple[int, Row | str]]:
    try:
        file = pq.ParquetFile(pa.BufferReader(data))
        _check_header(contract, file.schema_arrow.names)
        wanted = [name for name in contract.names if name in file.schema_arrow.names]
        line = 0
        for batch in file.iter_batches(columns=wanted, use_threads=False):
            for row in batch.to_pylist():
                line += 1
                yield line, row
    except (pa.ArrowException, OSError) as error:
        first = (str(error).splitlines() or ["no message"])[0]
        raise _WholeFile("malformed", f"not a Parquet file that can be read: {first}") from None


def _check_header(contract: Contract, header: Sequence[str]) -> None:
    missing = [c.name for c in contract.columns if c.needed and c.name not in header]
    twice = sorted({name for name in contract.names if list(header).count(name) > 1})
    present = ", ".join(header)[:300]
    if missing:
        raise _WholeFile("columns", f"no column {', '.join(missing)}; found: {present}")
    if twice:
        raise _WholeFile("columns", f"a column comes twice: {', '.join(twice)}")
