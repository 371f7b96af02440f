"""Metadata of materializations in the forms that Dagster's UI shows well: tables, rounded numbers, pictures."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import dagster as dg

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

ROWS_SHOWN = 10


def metadata_table(
    rows: "pd.DataFrame | Sequence[Mapping[Any, Any]]", limit: int = ROWS_SHOWN
) -> dg.TableMetadataValue:
    """The first rows of some figures as a table in Dagster's UI.

    Args:
        rows: a data frame, or one mapping a row, all with the keys of the first, which must be there.
        limit: the number of rows shown.

    Returns:
        The table with every value as text, floats to four significant digits.
    """
    shown: Sequence[Mapping[Any, Any]]
    if isinstance(rows, Sequence):
        names, shown = [str(name) for name in rows[0]], list(rows[:limit])
    else:
        names, shown = [str(name) for name in rows.columns], rows.head(limit).to_dict("records")
    records = [dg.TableRecord({str(k): _text(v) for k, v in row.items()}) for row in shown]
    return dg.MetadataValue.table(records, schema=dg.TableSchema([dg.TableColumn(name) for name in names]))


def stored_table(lake_url: str, name: str) -> dict[str, Any]:
    """Dagster's standard metadata of a table of the lake: where it is stored, and its columns.

    Args:
        lake_url: the lake's folder or s3://bucket/prefix.
        name: the table's name, a key of lake.schemas.TABLES.
    """
    from carsdepo_assets.lake.schemas import TABLES

    return {"dagster/uri": f"{lake_url}/tables/{name}", "dagster/column_schema": column_schema(TABLES[name])}


def column_schema(schema: "pa.Schema") -> dg.TableSchema:
    """The columns of an Arrow schema in the form in which Dagster's catalogue shows them."""
    return dg.TableSchema(
        [
            dg.TableColumn(field.name, str(field.type), constraints=dg.TableColumnConstraints(nullable=field.nullable))
            for field in schema
        ]
    )


def rounded(figures: Mapping[str, Any]) -> dict[str, Any]:
    """The same metadata with floats rounded to four significant digits, which a person reads more easily."""
    return {k: significant(v) if isinstance(v, float) else v for k, v in figures.items()}


def significant(value: float) -> float:
    """A number rounded to four significant digits, or to one decimal from 1,000 on."""
    return float(f"{value:.4g}") if abs(value) < 1000 else round(value, 1)


def _text(value: Any) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    return f"{significant(value):g}" if isinstance(value, float) and abs(value) < 1000 else str(value)


def picture(image: bytes) -> dg.MarkdownMetadataValue:
    """A PNG, JPEG or SVG as Markdown, the only form in which Dagster's UI shows a picture."""
    from carsdepo_assets.reporting.page import data_uri

    return dg.MetadataValue.md(f"![picture]({data_uri(image)})")
