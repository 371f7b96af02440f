"""compute/metadata.py: numbers that people read are short."""

from __future__ import annotations

import pandas as pd

from carsdepo_assets.orchestration.ui_metadata import rounded, significant, table


def test_numbers_are_rounded_and_nothing_else_is() -> None:
    given = {"map50": 0.65432198, "boxes": 1234567, "digest": "0a1b", "ms": 1234.5678, "p": 0.000012345678}
    assert rounded(given) == {"map50": 0.6543, "boxes": 1234567, "digest": "0a1b", "ms": 1234.6, "p": 0.00001235}
    assert significant(-0.65432198) == -0.6543


def test_a_tables_cells_are_rounded_and_absent_values_empty() -> None:
    frame = pd.DataFrame({"a": [0.1234567, None], "n": [3, 4], "name": ["x", None]})
    records = [dict(r.data) for r in table(frame).records]
    assert records == [{"a": "0.1235", "n": "3", "name": "x"}, {"a": "", "n": "4", "name": ""}]
