"""business/kpis/inputs.py: labelled boxes are counted as the dataset counts them, also for tied revisions."""

from __future__ import annotations

from pathlib import Path

import pytest

from carsdepo_assets.business.kpis.inputs import gather
from carsdepo_assets.lake.annotations import latest_revisions
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.policy import Policy
from carsdepo_assets_tests.business.business_rows import at
from carsdepo_assets_tests.business.platform import box


@pytest.mark.parametrize("order", [(0, 1), (1, 0)], ids=["smaller id first", "larger id first"])
def test_of_two_revisions_tied_in_number_and_time_the_datasets_counts(tmp_path: Path, order: tuple[int, int]) -> None:
    lake, when = Lake.open(tmp_path), at("2026-11-02")
    revisions = [
        {"revision_id": f"r{n}", "image_id": "a", "sequence": 5, "created_at": when, "boxes": [box(n)]} for n in (0, 1)
    ]
    for number in order:
        lake.append("annotations", [revisions[number]], f"{number}")
    assert gather(lake, Policy(), at("2026-11-03")).label_boxes == {0: 1}
    assert latest_revisions(lake.read("annotations"))["revision_id"].to_pylist() == ["r0"]
