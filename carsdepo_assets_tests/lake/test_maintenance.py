"""lake/maintenance.py: what compaction and vacuum remove, and what they keep."""

from __future__ import annotations

import os
import time
from datetime import timedelta
from pathlib import Path

import pytest

from carsdepo_assets.lake.lake import Lake, LakeError
from carsdepo_assets.lake.maintenance import SHORTEST_RETENTION, compact, vacuum

DAY = timedelta(days=1)


def fill(lake: Lake, count: int) -> list[str]:
    names = [f"i{i}" for i in range(count)]
    for name in names:
        lake.append("splits", [{"image_id": name}], name)
    return names


def age(folder: Path, days: float) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            os.utime(path, (time.time() - days * 86400,) * 2)


@pytest.mark.slow
def test_compacting_keeps_rows_and_units(lake: Lake) -> None:
    names = fill(lake, 9)
    (compacted,) = compact(lake)
    assert (compacted.table, compacted.files_before, compacted.files_after, compacted.version) == (
        "splits",
        9,
        1,
        lake.version("splits"),
    )
    assert sorted(lake.read("splits")["image_id"].to_pylist()) == names
    assert all(lake.committed("splits", name) for name in names)
    assert not lake.append("splits", [{"image_id": "i3"}], "i3")
    assert lake.append("splits", [{"image_id": "new"}], "new")
    assert compact(lake) == []  # few files: nothing to do


def test_units_survive_the_log_they_were_written_in(folder_lake: Lake, tmp_path: Path) -> None:
    names = fill(folder_lake, 8)
    compact(folder_lake)
    log = tmp_path / "lake/tables/splits/_delta_log"
    checkpoints = list(log.glob("*.checkpoint.parquet"))
    assert len(checkpoints) == 1
    for path in log.glob("*.json"):
        if path.stem.isdigit() and int(path.stem) < folder_lake.version("splits"):
            path.unlink()  # as Delta does when the log's retention is over
    assert all(folder_lake.committed("splits", name) for name in names)
    assert sorted(folder_lake.read("splits")["image_id"].to_pylist()) == names


def test_compacting_an_empty_lake_and_a_small_table(lake: Lake) -> None:
    assert compact(lake) == []
    lake.append("splits", [], "none")
    assert compact(lake, ["splits"], min_files=1) == []
    with pytest.raises(LakeError, match="no such table"):
        compact(lake, ["nothing"])


def test_vacuum_removes_what_is_old_and_needed_by_nothing(folder_lake: Lake, tmp_path: Path) -> None:
    names = fill(folder_lake, 3)
    folder = tmp_path / "lake/tables/splits"
    live = {p.name for p in folder.glob("*.parquet")}
    folder_lake.put("tables/splits/part-left-by-a-kill.parquet", b"PAR1")
    folder_lake.put("tables/splits/part-of-an-append-under-way.parquet", b"PAR1")
    folder_lake.put("objects/.put-00.tmp", b"half")
    folder_lake.put("raw/uploads/users-own.tmp", b"not ours")
    age(tmp_path / "lake", days=3)
    os.utime(folder / "part-of-an-append-under-way.parquet")
    expected = {"splits": ["part-left-by-a-kill.parquet"], "": ["objects/.put-00.tmp"]}
    assert vacuum(folder_lake, 2 * DAY, dry_run=True) == expected
    assert (folder / "part-left-by-a-kill.parquet").exists()
    assert vacuum(folder_lake, 2 * DAY) == expected
    assert {p.name for p in folder.glob("*.parquet")} == live | {"part-of-an-append-under-way.parquet"}
    assert not (tmp_path / "lake/objects/.put-00.tmp").exists()
    assert (tmp_path / "lake/raw/uploads/users-own.tmp").exists()
    assert sorted(folder_lake.read("splits")["image_id"].to_pylist()) == names
    assert all(folder_lake.committed("splits", name) for name in names)


def test_vacuum_keeps_what_compaction_replaced_until_the_retention_is_over(folder_lake: Lake, tmp_path: Path) -> None:
    fill(folder_lake, 8)
    compact(folder_lake)
    assert vacuum(folder_lake, 2 * DAY) == {}
    assert len(list((tmp_path / "lake/tables/splits").glob("*.parquet"))) == 9


def test_vacuum_on_both_kinds_of_lake_leaves_fresh_files(lake: Lake) -> None:
    names = fill(lake, 2)
    assert vacuum(lake, DAY) == {}
    assert sorted(lake.read("splits")["image_id"].to_pylist()) == names


@pytest.mark.parametrize("retention", [timedelta(0), -DAY, SHORTEST_RETENTION - timedelta(seconds=1)])
def test_a_short_retention_is_refused(folder_lake: Lake, retention: timedelta) -> None:
    with pytest.raises(LakeError, match="retention"):
        vacuum(folder_lake, retention)
