"""What a run leaves for people, as Dagster's UI shows it: tables and pictures."""

from typing import TYPE_CHECKING

import dagster as dg

if TYPE_CHECKING:
    import pandas as pd

ROWS_SHOWN = 10


def table(frame: "pd.DataFrame", rows: int = ROWS_SHOWN) -> dg.TableMetadataValue:
    """The first rows of a frame as a Dagster table; values as text."""
    records = [
        dg.TableRecord({str(k): "" if v is None else str(v) for k, v in row.items()})
        for row in frame.head(rows).to_dict("records")
    ]
    columns = [dg.TableColumn(str(c)) for c in frame.columns]
    return dg.MetadataValue.table(records, schema=dg.TableSchema(columns))


def picture(image: bytes) -> dg.MarkdownMetadataValue:
    """A PNG, JPEG or SVG as Markdown, the one form in which the UI shows one."""
    from carsdepo_assets.reporting.page import data_uri

    return dg.MetadataValue.md(f"![picture]({data_uri(image)})")
