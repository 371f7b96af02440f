"""orchestration/ui_metadata.py: tables, rounded numbers, and the standard metadata of stored tables."""

from __future__ import annotations

from typing import Any

import pandas as pd

from carsdepo_assets.orchestration.ui_metadata import metadata_table, rounded, significant, stored_table


def test_numbers_are_rounded_and_nothing_else_is() -> None:
    given = {"map50": 0.65432198, "boxes": 1234567, "digest": "0a1b", "ms": 1234.5678, "p": 0.000012345678}
    assert rounded(given) == {"map50": 0.6543, "boxes": 1234567, "digest": "0a1b", "ms": 1234.6, "p": 0.00001235}
    assert significant(-0.65432198) == -0.6543


def test_a_tables_cells_are_rounded_and_absent_values_empty() -> None:
    frame = pd.DataFrame({"a": [0.1234567, None], "n": [3, 4], "name": ["x", None]})
    records = [dict(r.data) for r in metadata_table(frame).records]
    assert records == [{"a": "0.1235", "n": "3", "name": "x"}, {"a": "", "n": "4", "name": ""}]


def test_rows_become_the_same_table_as_a_frame() -> None:
    rows: list[dict[str, Any]] = [{"a": 0.1234567, "n": 3}, {"a": None, "n": 4}, {"a": 1.0, "n": 5}]
    shown = metadata_table(rows, 2)
    assert shown == metadata_table(pd.DataFrame(rows), 2)
    assert [column.name for column in shown.schema.columns] == ["a", "n"]
    assert len(shown.records) == 2


def test_a_stored_table_names_its_place_and_its_columns() -> None:
    metadata = stored_table("s3://bucket/lake", "quarantine")
    assert metadata["dagster/uri"] == "s3://bucket/lake/tables/quarantine"
    columns = {column.name: column.type for column in metadata["dagster/column_schema"].columns}
    assert columns["line"] == "int32"
    assert set(columns) >= {"key", "kind", "reason", "detail"}
