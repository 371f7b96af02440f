"""The contracts of the business's files: which columns they have, of which types and units.

Files are raw/business/<kind>/**/*.csv (a header line; UTF-8, UTF-16 or cp1252; separated by commas, semicolons, tabs or
bars) or *.parquet. Capitals and spaces in the names of columns say nothing; other columns are ignored. Money is in
policy.business.currency. Times are ISO 8601; one without an offset is UTC. How cells are read is in cells.py.

The `transaction_id` of a dispute refers to a transaction, the `listing` of an inspection to a listing. Files come in
any order, so these references are checked by `kpi_report`, where the tables are read together, and not file by file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Kind = Literal["inspections", "transactions", "disputes"]
Type = Literal["id", "word", "time", "count", "number"]
KINDS: tuple[Kind, ...] = ("inspections", "transactions", "disputes")
CAUSES = ("damage", "price", "other")
LONGEST_ID = 200  # characters
MOST_IMAGES = 10_000  # of one inspection: more is a slip of the keyboard


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
    capitals: Literal["lower", "upper"] | None = None
    """How a word is written in the table, whatever its capitals in the file; None: as in the file."""


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
    "currency", "word", "ISO 4217", "of the row's money; empty: the policy's", False, "currency", "upper"
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
            Column("cause", "word", "", "damage, price or other", capitals="lower"),
            Column("amount", "number", "money", "claimed, 0 or more; empty: not known yet", needed=False),
            _CURRENCY,
        ),
    ),
}
