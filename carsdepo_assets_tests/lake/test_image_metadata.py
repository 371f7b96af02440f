"""lake/image_metadata.py: corrected columns count over those of `images`, whole, and the latest correction counts."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from carsdepo_assets.lake.image_metadata import read_images
from carsdepo_assets.lake.lake import Lake, LakeError

AT = datetime(2030, 1, 1, tzinfo=UTC)


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    lake = Lake.open(tmp_path)
    rows = [{"image_id": i, "camera": "X", "group_hint": f"g{i}", "year": 2020, "luma_mean": 1.0} for i in "abc"]
    lake.append("images", rows, "first")
    return lake


def test_without_corrections_rows_are_as_they_were_read(lake: Lake) -> None:
    assert read_images(lake).sort_by("image_id") == lake.read("images").sort_by("image_id")
    assert read_images(lake, ["luma_mean"]).column_names == ["luma_mean"]
    with pytest.raises(LakeError, match="no column colour"):
        read_images(lake, ["colour"])


def test_the_latest_correction_counts_with_what_it_leaves_empty(lake: Lake) -> None:
    rows = [
        {"image_id": "b", "group_hint": "g2", "camera": "Y", "sequence": 1, "corrected_at": AT},
        {"image_id": "c", "group_hint": "g2", "year": 1999, "sequence": 2, "corrected_at": AT},
    ]
    lake.append("metadata", rows, "one")
    lake.append("metadata", [{"image_id": "b", "group_hint": "g3", "sequence": 3, "corrected_at": AT}], "two")
    images = {row["image_id"]: row for row in read_images(lake).to_pylist()}
    fields = ("group_hint", "camera", "year", "luma_mean")
    assert {i: tuple(row[name] for name in fields) for i, row in images.items()} == {
        "a": ("ga", "X", 2020, 1.0),
        "b": ("g3", None, None, 1.0),
        "c": ("g2", None, 1999, 1.0),
    }
    assert read_images(lake, ["camera"]).column_names == ["camera"]
    assert read_images(lake).schema == lake.read("images").schema
