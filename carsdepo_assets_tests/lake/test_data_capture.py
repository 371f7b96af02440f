"""lake/data_capture.py: the endpoints that write into a lake are known, whoever notes them and when."""

from __future__ import annotations

from pathlib import Path

import pytest

from carsdepo_assets.lake import data_capture
from carsdepo_assets.lake.lake import Lake


def test_two_endpoints_that_are_noted_at_once_are_both_known(tmp_path: Path) -> None:
    lake, other = Lake.open(tmp_path / "lake"), Lake.open(tmp_path / "lake")
    put = lake.put

    def put_after_the_other(key: str, data: bytes) -> None:
        data_capture.note_endpoint(other, "carsdepo-staging")
        put(key, data)

    lake.put = put_after_the_other  # type: ignore[method-assign]
    data_capture.note_endpoint(lake, "carsdepo-production")
    assert data_capture.endpoints(other) == ["carsdepo-production", "carsdepo-staging"]


@pytest.mark.parametrize(
    ("before", "names"), [(b'["old"]', ["new", "old"]), (b"", ["new"]), (b"{}", ["new"]), (b"[7]", ["new"])]
)
def test_the_list_of_a_lake_of_before_is_read_too(tmp_path: Path, before: bytes, names: list[str]) -> None:
    lake = Lake.open(tmp_path / "lake")
    lake.put("capture/sagemaker.json", before)
    data_capture.note_endpoint(lake, "new")
    assert data_capture.endpoints(lake) == names
