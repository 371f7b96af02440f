"""What a run leaves for people, as Dagster's UI shows it: tables and pictures."""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import dagster as dg

if TYPE_CHECKING:
    import pandas as pd

ROWS_SHOWN = 10


def table(frame: "pd.DataFrame", rows: int = ROWS_SHOWN) -> dg.TableMetadataValue:
    """The first rows of a frame as a Dagster table; values as text, floats to four significant digits."""
    records = [
        dg.TableRecord({str(k): _text(v) for k, v in row.items()}) for row in frame.head(rows).to_dict("records")
    ]
    columns = [dg.TableColumn(str(c)) for c in frame.columns]
    return dg.MetadataValue.table(records, schema=dg.TableSchema(columns))


def rounded(figures: Mapping[str, Any]) -> dict[str, Any]:
    """The same metadata with floats to four significant digits: more of them hide the number from a reader."""
    return {k: significant(v) if isinstance(v, float) else v for k, v in figures.items()}


def significant(value: float) -> float:
    """Four significant digits; whole numbers from 1,000 on keep all of theirs."""
    return float(f"{value:.4g}") if abs(value) < 1000 else round(value, 1)


def _text(value: Any) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    return f"{significant(value):g}" if isinstance(value, float) and abs(value) < 1000 else str(value)


def picture(image: bytes) -> dg.MarkdownMetadataValue:
    """A PNG, JPEG or SVG as Markdown, the one form in which the UI shows one."""
    from carsdepo_assets.reporting.page import data_uri

    return dg.MetadataValue.md(f"![picture]({data_uri(image)})")
