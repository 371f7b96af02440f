"""lake/locks.py: from photographs to a dataset on each kind of lake; on S3, where nothing is locked, twice at once."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from carsdepo_assets.business.file_states import new_files
from carsdepo_assets.business.ingest import ingest
from carsdepo_assets.business.ingest import latest as business_rows
from carsdepo_assets.data.batches.batches import plan_batches
from carsdepo_assets.data.datasets.dataset import build_dataset
from carsdepo_assets.data.labels.label_revisions import ingest_labels
from carsdepo_assets.data.photographs.ingest import build_images, build_processed, ingest_uploads
from carsdepo_assets.lake.datasets import latest, read_manifest
from carsdepo_assets.lake.lake import Lake, LakeError
from carsdepo_assets.lake.objects import ObjectInfo
from carsdepo_assets.lake.s3_objects import S3Objects
from carsdepo_assets.policy import Policy
from carsdepo_assets_tests.business.business_rows import drop
from carsdepo_assets_tests.data.small_lake import CLASS_NAMES
from carsdepo_assets_tests.imaging.files import saved, scene

pytestmark = pytest.mark.slow

NOW = datetime(2030, 1, 1, tzinfo=UTC)
RULES = Policy()
COUNT = 6
TOGETHER = """
import sys, time
sys.path.insert(0, "carsdepo_assets_tests/lake")
from carsdepo_assets.lake.lake import Lake
from test_pipeline_on_both import run
time.sleep(max(0.0, float(sys.argv[2]) - time.time()))
print(run(Lake.open(sys.argv[1]), *sys.argv[3:]))
"""
READ = """
import sys
from carsdepo_assets.lake.lake import Lake
assert Lake.open(sys.argv[1]).read("splits").num_rows == 60
"""
READ_PARQUET = """
import sys
from pathlib import Path
from carsdepo_assets.lake.parquet import read_parquet
assert read_parquet(Path(sys.argv[1]).read_bytes()).num_rows == 60
"""


def plan(lake: Lake) -> tuple[str, str]:
    """(upload batch, label batch): photographs of a car each, one of them no photograph."""
    lake.put("raw/labels/classes.txt", CLASS_NAMES)
    for i in range(COUNT):
        lake.put(f"raw/uploads/{i}.jpg", saved(scene(96, 64, i)))
        lake.put(f"raw/labels/{i}.txt", b"0 0.5 0.5 0.25 0.25\n" if i % 2 else b"")
    lake.put("raw/uploads/bad.jpg", b"no photograph")
    lake.put("raw/labels/bad.txt", b"")
    (uploads,) = plan_batches(lake, "uploads", RULES, NOW, close_all=True)
    (labels,) = plan_batches(lake, "labels", RULES, NOW, close_all=True)
    return uploads.batch_id, labels.batch_id


def run(lake: Lake, uploads: str, labels: str) -> str:
    for step in (ingest_uploads, build_images, build_processed):
        step(lake, uploads, RULES)
    ingest_labels(lake, labels, RULES, NOW)
    return build_dataset(lake, RULES, NOW).version


def check(lake: Lake, version: str) -> None:
    manifest = read_manifest(lake, version)
    assert latest(lake) == version
    assert sorted(manifest["key"].to_pylist()) == [f"raw/uploads/{i}.jpg" for i in range(COUNT)]
    assert sum(map(len, manifest["boxes"].to_pylist())) == COUNT // 2
    assert set(manifest["split"].to_pylist()) == {"train", "val", "test"}
    assert [
        lake.read(t).num_rows for t in ("uploads", "images", "processed", "annotations", "splits", "quarantine")
    ] == [COUNT + 1, COUNT, COUNT, COUNT, COUNT, 2]
    for row in manifest.to_pylist():
        assert lake.local_path(row["object_key"]).read_bytes() == lake.get(row["object_key"])


def test_the_whole_way_and_again(lake: Lake) -> None:
    batches = plan(lake)
    version = run(lake, *batches)
    check(lake, version)
    assert plan_batches(lake, "uploads", RULES, NOW, close_all=True) == []
    assert run(lake, *batches) == version
    check(lake, version)


def test_put_again_as_it_was_nothing_is_new(lake: Lake) -> None:
    run(lake, *plan(lake))
    files = {o.key: lake.get(o.key) for o in lake.list("raw")}
    time.sleep(1.1)  # S3 knows seconds
    for key, data in files.items():
        lake.put(key, data)
    assert plan_batches(lake, "uploads", RULES, NOW, close_all=True) == []
    assert plan_batches(lake, "labels", RULES, NOW, close_all=True) == []
    lake.put("raw/labels/1.txt", b"0 0.5 0.5 0.26 0.25\n")
    (labels,) = plan_batches(lake, "labels", RULES, NOW, close_all=True)
    assert [o.key for o in labels.objects] == ["raw/labels/1.txt"]


@pytest.fixture
def one_second(monkeypatch: pytest.MonkeyPatch) -> None:
    """All objects on S3 were stored within one second, as it tells time."""
    real = S3Objects.list

    def listed(self: S3Objects, prefix: str) -> Iterator[ObjectInfo]:
        return (replace(info, modified_at=NOW) for info in real(self, prefix))

    monkeypatch.setattr(S3Objects, "list", listed)


@pytest.mark.usefixtures("one_second")
def test_other_bytes_of_the_same_size_and_second_are_new(s3_url: str) -> None:
    lake = Lake.open(s3_url)
    run(lake, *plan(lake))
    assert plan_batches(lake, "labels", RULES, NOW, close_all=True) == []
    lake.put("raw/labels/1.txt", b"0 0.5 0.5 0.26 0.25\n")
    (labels,) = plan_batches(lake, "labels", RULES, NOW, close_all=True)
    assert [o.key for o in labels.objects] == ["raw/labels/1.txt"]
    assert plan_batches(lake, "labels", RULES, NOW, close_all=True) == []


@pytest.mark.usefixtures("one_second")
def test_a_business_file_written_again_in_the_same_second_is_read(s3_url: str) -> None:
    lake = Lake.open(s3_url)
    for amount in (310, 410):
        key = drop(lake, "disputes", "a.csv", f"D1,T1,2026-07-21,damage,{amount},EUR")
        assert [o.key for o in new_files(lake, "disputes")] == [key]
        ingest(lake, "disputes", RULES, NOW)
        assert new_files(lake, "disputes") == []
    assert business_rows(lake, "disputes")["amount"].tolist() == [410]


def test_a_manifest_without_etags_still_lists_its_files(s3_url: str) -> None:
    lake = Lake.open(s3_url)
    run(lake, *plan(lake))
    manifests = list(lake.list("batches"))
    assert manifests
    for info in manifests:
        written = json.loads(lake.get(info.key))
        for entry in written["objects"]:
            assert entry.pop("etag")
        lake.put(info.key, json.dumps(written).encode())
    shutil.rmtree(lake.objects.cache_folder)
    assert plan_batches(lake, "uploads", RULES, NOW, close_all=True) == []
    assert plan_batches(lake, "labels", RULES, NOW, close_all=True) == []
    assert list(lake.list("batches/rechecked")) == []  # nothing was hashed anew


def test_the_same_batches_by_two_processes_at_once(lake: Lake) -> None:
    batches = plan(lake)
    start = str(time.time() + 3)
    both = [
        subprocess.Popen(
            [sys.executable, "-c", TOGETHER, lake.url, start, *batches],
            cwd=Path(__file__).parents[2],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    answers = [process.communicate(timeout=120) for process in both]
    assert [process.returncode for process in both] == [0, 0], answers
    (version,) = {out.strip() for out, _ in answers}
    check(lake, version)


def ends_of(script: str, argument: str, rounds: int) -> list[int]:
    """The exit codes of processes that run a script, two at a time."""
    codes: list[int] = []
    for _ in range(rounds):
        pair = [
            subprocess.Popen([sys.executable, "-c", script, argument], cwd=Path(__file__).parents[2]) for _ in range(2)
        ]
        codes += [process.wait(60) for process in pair]
    return codes


def test_a_process_that_has_read_a_parquet_file_ends_well(tmp_path: Path) -> None:
    """With `pyarrow.parquet.read_table` one in ten aborts (-6): nine of ten runs of this test fail with it."""
    columns = {f"c{i}": list(range(60)) for i in range(14)}
    pq.write_table(pa.table(columns), tmp_path / "t.parquet")
    assert ends_of(READ_PARQUET, str(tmp_path / "t.parquet"), rounds=12) == [0] * 24


def test_a_process_that_has_read_ends_well(s3_url: str) -> None:
    """Readers with threads that need the interpreter abort (-6) when it ends before they do: one in seven on S3."""
    lake = Lake.open(s3_url)
    for unit in range(6):
        lake.append("splits", [{"image_id": f"{unit}-{i}"} for i in range(10)], str(unit))
    assert ends_of(READ, lake.url, rounds=3) == [0] * 6


def test_a_table_that_lost_a_file_is_an_error_not_fewer_rows(folder_lake: Lake) -> None:
    for unit in ("a", "b"):
        folder_lake.append("splits", [{"image_id": unit}], unit)
    lost = next(o.key for o in folder_lake.list("tables/splits") if o.key.endswith(".parquet"))
    whole = folder_lake.get(lost)
    for damage in (lambda: folder_lake.put(lost, whole[:40]), lambda: folder_lake.delete(lost)):
        damage()
        with pytest.raises(LakeError, match="splits: cannot be read"):
            folder_lake.read("splits")
