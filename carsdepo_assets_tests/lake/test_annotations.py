"""lake/annotations.py: which of a photograph's label revisions counts, also where two carry the same number."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from carsdepo_assets.lake.annotations import latest_revisions
from carsdepo_assets.lake.data_schemas import ANNOTATIONS
from carsdepo_assets.lake.lake import Lake

NOON = datetime(2026, 11, 25, 12, tzinfo=UTC)
LATER = NOON + timedelta(microseconds=1)


def counting(lake: Lake, *revisions: tuple[str, str, int, datetime]) -> dict[str, str]:
    """{image_id: the revision that counts}, of (revision_id, image_id, sequence, created_at), each its own commit."""
    for number, (revision, image, sequence, at) in enumerate(revisions):
        row = {"revision_id": revision, "image_id": image, "sequence": sequence, "created_at": at}
        lake.append("annotations", [row], f"{number}")
    rows = latest_revisions(lake.read("annotations"))
    assert rows.schema == ANNOTATIONS
    assert rows["image_id"].to_pylist() == sorted(set(rows["image_id"].to_pylist()))
    return dict(zip(rows["image_id"].to_pylist(), rows["revision_id"].to_pylist(), strict=True))


def test_the_highest_sequence_counts_whenever_it_was_written(tmp_path: Path) -> None:
    lake = Lake.open(tmp_path)
    revisions = ("first", "a", 1, LATER), ("second", "a", 3, NOON), ("third", "a", 2, LATER), ("only", "b", 9, NOON)
    assert counting(lake, *revisions) == {"a": "second", "b": "only"}


def test_a_tie_of_sequence_goes_to_the_later_one(tmp_path: Path) -> None:
    lake = Lake.open(tmp_path)
    assert counting(lake, ("earlier", "a", 7, NOON), ("later", "a", 7, LATER)) == {"a": "later"}


def test_a_tie_of_sequence_and_time_goes_to_the_smaller_id_in_any_order(tmp_path: Path) -> None:
    tied = [("r2", "a", 7, NOON), ("r1", "a", 7, NOON)]
    assert counting(Lake.open(tmp_path / "one"), *tied) == {"a": "r1"}
    assert counting(Lake.open(tmp_path / "other"), *reversed(tied)) == {"a": "r1"}


def test_no_revisions_are_none(tmp_path: Path) -> None:
    assert latest_revisions(Lake.open(tmp_path).read("annotations")).num_rows == 0


def test_a_few_columns_are_enough(tmp_path: Path) -> None:
    lake = Lake.open(tmp_path)
    counting(lake, ("r1", "a", 1, NOON), ("r2", "a", 2, NOON))
    columns = ["image_id", "sequence", "created_at", "revision_id", "state"]
    (row,) = latest_revisions(lake.read("annotations", columns=columns)).to_pylist()
    assert row == {"image_id": "a", "sequence": 2, "created_at": NOON, "revision_id": "r2", "state": None}
