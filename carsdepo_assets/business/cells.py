"""Reads one cell of a business file as its column's type. What could mean two things is refused, never guessed."""

from __future__ import annotations

import math
import re
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

from carsdepo_assets.business.contracts import LONGEST_ID, Column

NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?")
_WHOLE = re.compile(r"[+-]?\d{1,18}(\.0*)?")
_YEAR_FIRST = re.compile(r"(\d{4})[/.](\d{1,2})[/.](\d{1,2})(?=$|[T ])")
_YEAR_LAST = re.compile(r"(\d{1,2})([/.-])(\d{1,2})\2(\d{4}|\d{2})(?=$|[T ,])")
_SERIAL = re.compile(r"[2-7]\d{4}([.,]\d+)?")  # 20000 is in the year 1954, 79999 in 2119
_EXCELS_DAY_0 = date(1899, 12, 30)
_EXACT = 2**53  # whole numbers up to it are exact as floats


class BadCell(ValueError):
    """A value that does not fit the type of its column; `reason` is a short name for statistics."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


def cell(column: Column, value: Any) -> Any:
    """Reads one cell as its column's type.

    Args:
        column: The column of the contract.
        value: The text of a CSV cell, with a point as decimal sign, or a value of a Parquet file.

    Returns:
        A str, an aware datetime in UTC, an int or a float, as the column asks; None where the cell is empty.

    Raises:
        BadCell: The value does not fit, or it is empty where the column needs one.
    """
    if isinstance(value, str):
        value = value.strip()
    if _is_empty(value):
        if column.needed:
            raise BadCell("missing", f"{column.name} is empty")
        return None
    match column.type:
        case "id":
            return _name(column, _id_as_text(value))
        case "word":
            name = _name(column, value)
            return {"lower": name.lower(), "upper": name.upper(), None: name}[column.capitals]
        case "time":
            return _time(column, value)
        case "count":
            return _count(column, value)
        case "number":
            return _number(column, value)


def _is_empty(value: Any) -> bool:
    import pandas as pd

    if isinstance(value, float | Decimal):
        return math.isnan(value)
    return value is None or value == "" or value is pd.NaT


def _id_as_text(value: Any) -> Any:
    """An id that is a number, also one that a column with gaps has made 17.0 of 17."""
    if isinstance(value, float | Decimal) and math.isfinite(value):
        is_whole = value == int(value) and -_EXACT < value < _EXACT
        return str(int(value)) if is_whole else value
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _name(column: Column, value: Any) -> str:
    if not isinstance(value, str):
        raise BadCell("not_text", f"{column.name} is {value!r}, not text")
    if len(value) > LONGEST_ID:
        raise BadCell("too_long", f"{column.name} has {len(value)} characters, at most {LONGEST_ID} are due")
    if any(ord(c) < 32 or ord(c) == 127 for c in value):
        raise BadCell("control_character", f"{column.name} is {value!r}")
    return value


def _time(column: Column, value: Any) -> datetime:
    try:
        if isinstance(value, str):
            value = datetime.fromisoformat(_year_first(value))
        if isinstance(value, datetime):  # rebuilt: a pandas Timestamp carries nanoseconds that the table does not
            moment = datetime.combine(value.date(), value.time(), value.tzinfo or UTC)
        elif isinstance(value, date):
            moment = datetime(value.year, value.month, value.day, tzinfo=UTC)
        else:
            raise ValueError
        return moment.astimezone(UTC)
    except (ValueError, OverflowError):
        raise _no_time(column, value) from None


def _year_first(text: str) -> str:
    """2026/7/1, where nothing but year, month and day can be meant, as ISO 8601 writes it."""
    return _YEAR_FIRST.sub(lambda m: f"{m[1]}-{m[2]:0>2}-{m[3]:0>2}", text, count=1)


def _no_time(column: Column, value: Any) -> BadCell:
    text = str(value)
    if _SERIAL.fullmatch(text) and not isinstance(value, bool):
        day = _EXCELS_DAY_0 + timedelta(days=int(text[:5]))
        return BadCell(
            "excel_serial",
            f"{column.name} is {value!r}, a day's number in Excel ({day} if its dates begin in 1900): format the "
            "column as YYYY-MM-DD before it is saved",
        )
    parts = _YEAR_LAST.match(text)
    if parts and parts[2] != "." and int(parts[1]) <= 12 and int(parts[3]) <= 12:
        return BadCell(
            "ambiguous_date",
            f"{column.name} is {value!r}: the day or the month may come first; write it as ISO 8601, 2026-07-01",
        )
    return BadCell("not_a_time", f"{column.name} is {value!r}, not ISO 8601 such as 2026-07-01T09:30:00Z")


def _count(column: Column, value: Any) -> int:
    text = str(value)
    if isinstance(value, bool) or not _WHOLE.fullmatch(text):
        raise BadCell("not_whole", f"{column.name} is {value!r}, not a whole number")
    return int(text.split(".")[0])


def _number(column: Column, value: Any) -> float:
    if isinstance(value, bool) or (isinstance(value, str) and not NUMBER.fullmatch(value)):
        raise BadCell("not_a_number", f"{column.name} is {value!r}, not a number such as 1234.50")
    try:
        number = float(value) if isinstance(value, (str, int, float, Decimal)) else math.nan
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise BadCell("not_a_number", f"{column.name} is {value!r}, not a number such as 1234.50")
    return number
