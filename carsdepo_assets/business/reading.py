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

from carsdepo_assets.business.cells import BadCell, cell
from carsdepo_assets.business.contracts import Contract
from carsdepo_assets.business.decimal_signs import DecimalSigns, Undecided, decimal_signs
from carsdepo_assets.lake.text_files import decoded, plain_name, separated
from carsdepo_assets.policy import Policy

Row = dict[str, Any]
SUFFIXES = (".csv", ".parquet")
_NUMBERS = ("count", "number")


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
    refused_ids: set[str] = field(default_factory=set)
    """Ids of rows that cannot be used, as far as they have one."""
    whole: bool = True
    """Whether all of the file was read; not where reading it ended early, or never began."""


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
    lines: list[tuple[int, Row | str]] = []
    separator: str | None = None
    try:
        try:
            if suffix == ".csv":
                text, separator, skipped = _text(contract, data)
                for line, values in _csv(contract, text, separator):
                    lines.append((line + skipped, values))
            elif suffix == ".parquet":
                lines.extend(_parquet(contract, data))
            else:
                raise _WholeFile("unsupported_format", f"{suffix or 'no suffix'}: business files are .csv or .parquet")
        finally:
            contents.seen = len(lines)
    except _WholeFile as error:
        contents.whole = False
        contents.refused.append(RefusedLine(error.line, error.reason, str(error)))
    try:
        signs = decimal_signs(_number_texts(contract, lines), separator, policy.business.decimal_comma)
    except Undecided as error:
        contents.whole = False
        contents.refused.append(RefusedLine(None, "decimal_comma", str(error)))
        return contents
    for line, values in lines:
        if isinstance(values, str):
            contents.refused.append(RefusedLine(line, "columns", values))
            continue
        try:
            row = _row(contract, values, signs)
        except BadCell as error:
            contents.refused.append(RefusedLine(line, error.reason, str(error)))
            contents.refused_ids.update(_id(contract, values))
            continue
        for column in contract.columns:
            if column.default == "currency" and row[column.name] is None:
                row[column.name] = policy.business.currency
        contents.rows.append(row | {"line": line})
    return contents


def _row(contract: Contract, values: Row, signs: DecimalSigns) -> Row:
    row = {}
    for column in contract.columns:
        value = values.get(column.name)
        if column.type in _NUMBERS and isinstance(value, str):
            value = signs.number(column, value)
        row[column.name] = cell(column, value)
    return row


def _id(contract: Contract, values: Row) -> list[str]:
    """The id of a row whose other cells may be wrong; none where it is wrong itself."""
    try:
        return [cell(contract.columns[0], values.get(contract.id))]
    except BadCell:
        return []


def _number_texts(contract: Contract, lines: list[tuple[int, Row | str]]) -> Iterator[str]:
    names = [column.name for column in contract.columns if column.type in _NUMBERS]
    for _, values in lines:
        if not isinstance(values, str):
            yield from (value for name in names if isinstance(value := values.get(name), str))


def _text(contract: Contract, data: bytes) -> tuple[str, str, int]:
    """The text of a CSV file, what separates its cells, and how many lines before the text are left out."""
    try:
        text = decoded(data)
    except ValueError as error:
        raise _WholeFile("encoding", str(error)) from None
    # Names as they may be written, so that a column is seen in `Dispute ID;Opened at`.
    names = {name.replace("_", by) for name in contract.names for by in ("_", " ", "-")}
    separator, text, skipped = separated(text, names)
    return text, separator, skipped


def _csv(contract: Contract, text: str, separator: str) -> Iterator[tuple[int, Row | str]]:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True, delimiter=separator)
    header: list[str] | None = None
    begin = 1
    try:
        for cells in reader:
            line, begin = begin, reader.line_num + 1
            if not any(c.strip() for c in cells):
                continue
            if header is None:
                header = _named(contract, cells)
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
        names = file.schema_arrow.names
        columns = dict(zip(names, _named(contract, names), strict=True))
        wanted = [name for name, column in columns.items() if column in contract.names]
        line = 0
        for batch in file.iter_batches(columns=wanted, use_threads=False):
            for row in batch.to_pylist():
                line += 1
                yield line, {columns[name]: value for name, value in row.items()}
    except (pa.ArrowException, OSError) as error:
        first = (str(error).splitlines() or ["no message"])[0]
        raise _WholeFile("malformed", f"not a Parquet file that can be read: {first}") from None


def _named(contract: Contract, header: Sequence[str]) -> list[str]:
    """The names of a file's columns, those of the contract as it writes them, whatever their capitals and spaces.

    Raises:
        _WholeFile: A column that is needed is missing, or one comes twice.
    """
    written = [plain_name(name).replace(" ", "_").replace("-", "_") for name in header]
    named = [new if new in contract.names else str(old).strip() for old, new in zip(header, written, strict=True)]
    missing = [c.name for c in contract.columns if c.needed and c.name not in named]
    twice = sorted({name for name in contract.names if named.count(name) > 1})
    present = ", ".join(named)[:300]
    if missing:
        raise _WholeFile("columns", f"no column {', '.join(missing)}; found: {present}")
    if twice:
        raise _WholeFile("columns", f"a column comes twice: {', '.join(twice)}")
    return named
