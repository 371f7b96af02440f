"""The contracts of the business's files: which columns they have, of which types and units, and how a cell is read.

Files are raw/business/<kind>/**/*.csv (UTF-8, comma, a header line) or *.parquet. Money is in policy.business.currency.
Times are ISO 8601; one without an offset is UTC. Other columns are ignored. The `transaction_id` of a dispute refers
to a transaction, the `listing` of an inspection to a listing. Files come in any order, so these references are checked
by `kpi_report`, where the tables are read together, and not file by file.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, Literal

Kind = Literal["inspections", "transactions", "disputes"]
Type = Literal["id", "word", "time", "count", "number"]
KINDS: tuple[Kind, ...] = ("inspections", "transactions", "disputes")
CAUSES = ("damage", "price", "other")
LONGEST_ID = 200  # characters
MOST_IMAGES = 10_000  # of one inspection: more is a slip of the keyboard

_WHOLE = re.compile(r"[+-]?\d{1,18}(\.0*)?")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?")


class BadCell(ValueError):
    """A value that does not fit the type of its column; `reason` is a short name for statistics."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


@dataclass(frozen=True)
class Column:
    """A column of a business file."""

    name: str
    type: Type
    unit: str
    meaning: str
    needed: bool = True
    """Whether the column must exist and every row must have a value in it."""
    default: Literal["currency"] | None = None
    """What a row without a value gets: the policy's currency, or nothing."""


@dataclass(frozen=True)
class Contract:
    """The columns of one kind of business file; the first is the id of a row."""

    kind: Kind
    columns: tuple[Column, ...]

    @property
    def id(self) -> str:
        """The name of the column that identifies a row."""
        return self.columns[0].name

    @property
    def names(self) -> list[str]:
        """The names of all columns, in their order."""
        return [column.name for column in self.columns]


_CURRENCY = Column(
    "currency", "word", "ISO 4217", "of the row's money; empty: the policy's", needed=False, default="currency"
)
CONTRACTS: Mapping[Kind, Contract] = {
    "inspections": Contract(
        "inspections",
        (
            Column("inspection_id", "id", "", "names the inspection; again: a correction"),
            Column("listing", "id", "", "the car's listing, as photographs name it"),
            Column("at", "time", "UTC", "when the inspection was done"),
            Column("images", "count", "images", "photographs looked at, 1 or more"),
            Column("images_by_ml", "count", "images", "of them, decided by the model without a person"),
            Column("minutes", "number", "minutes", "of a person's work", needed=False),
            Column("cost", "number", "money", "of the inspection, 0 or more"),
            _CURRENCY,
        ),
    ),
    "transactions": Contract(
        "transactions",
        (
            Column("transaction_id", "id", "", "names the sale from listing to handover; again: a correction"),
            Column("listing", "id", "", "the listing that is sold"),
            Column("listed_at", "time", "UTC", "when the car was put on sale"),
            Column("sold_at", "time", "UTC", "when it was sold; empty: not yet", needed=False),
            Column("price", "number", "money", "over 0; needed when sold", needed=False),
            _CURRENCY,
        ),
    ),
    "disputes": Contract(
        "disputes",
        (
            Column("dispute_id", "id", "", "names the dispute; again: a correction"),
            Column("transaction_id", "id", "", "the sale in dispute"),
            Column("opened_at", "time", "UTC", "when it was opened"),
            Column("cause", "word", "", "damage, price or other"),
            Column("amount", "number", "money", "claimed, 0 or more; empty: not known yet", needed=False),
            _CURRENCY,
        ),
    ),
}


def cell(column: Column, value: Any) -> Any:
    """Reads one cell as its column's type.

    Args:
        column: The column of the contract.
        value: The text of a CSV cell, or a value of a Parquet file.

    Returns:
        A str, an aware datetime in UTC, an int or a float, as the column asks; None where the cell is empty.

    Raises:
        BadCell: The value does not fit, or it is empty where the column needs one.
    """
    if isinstance(value, str):
        value = value.strip()
    if value is None or value == "" or (isinstance(value, float) and math.isnan(value)) or value is _nat():
        if column.needed:
            raise BadCell("missing", f"{column.name} is empty")
        return None
    match column.type:
        case "id":
            return _name(column, str(value) if isinstance(value, int) and not isinstance(value, bool) else value)
        case "word":
            return _name(column, value)
        case "time":
            return _time(column, value)
        case "count":
            return _count(column, value)
        case "number":
            return _number(column, value)


def _nat() -> Any:
    import pandas as pd

    return pd.NaT


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
            value = datetime.fromisoformat(value)
        if isinstance(value, datetime):  # rebuilt: a pandas Timestamp carries nanoseconds that the table does not
            moment = datetime.combine(value.date(), value.time(), value.tzinfo or UTC)
        elif isinstance(value, date):
            moment = datetime(value.year, value.month, value.day, tzinfo=UTC)
        else:
            raise ValueError
        return moment.astimezone(UTC)
    except (ValueError, OverflowError):
        raise BadCell("not_a_time", f"{column.name} is {value!r}, not ISO 8601 such as 2026-07-01T09:30:00Z") from None


def _count(column: Column, value: Any) -> int:
    text = str(value)
    if isinstance(value, bool) or not _WHOLE.fullmatch(text):
        raise BadCell("not_whole", f"{column.name} is {value!r}, not a whole number")
    return int(text.split(".")[0])


def _number(column: Column, value: Any) -> float:
    if isinstance(value, bool) or (isinstance(value, str) and not _NUMBER.fullmatch(value)):
        raise BadCell("not_a_number", f"{column.name} is {value!r}, not a number such as 1234.50")
    try:
        number = float(value) if isinstance(value, (str, int, float, Decimal)) else math.nan
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise BadCell("not_a_number", f"{column.name} is {value!r}, not a number such as 1234.50")
    return number
