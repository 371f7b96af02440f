"""data/batches/batches.py, data/objects/manifests.py: when batches close, and that no object is in two of them or in
none."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from carsdepo_assets.data.batches.batches import (
    BatchError,
    is_label,
    is_photograph,
    list_batches,
    plan_batches,
    read_manifest,
)
from carsdepo_assets.data.photographs.ingest import build_images, ingest_uploads
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.policy import DataPolicy, Policy
from carsdepo_assets_tests.data.photograph_files import photograph

T0 = datetime(2026, 3, 1, 12, tzinfo=UTC)


def policy(**data: float) -> Policy:
    return Policy(data=DataPolicy(**{"batch_max_images": 3, "batch_max_age_s": 20, **data}))


def drop(lake: Lake, key: str, data: bytes = b"x", at: datetime = T0) -> None:
    lake.put(key, data)
    os.utime(Path(lake.root or "", key), (at.timestamp(), at.timestamp()))


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake.open(tmp_path / "lake")


@pytest.mark.parametrize(
    ("files", "age_s", "close_all", "sizes"),
    [
        (0, 100, True, []),
        (2, 19, False, []),  # too young
        (2, 21, False, [2]),  # old enough
        (2, 1, True, [2]),  # the end of an import
        (3, 1, False, [3]),  # full
        (7, 1, False, [3, 3]),  # the rest stays open
        (7, 21, False, [3, 3, 1]),
        (2, -3600, False, [2]),  # a clock ahead of ours holds nothing back
    ],
)
def test_closes_when_due(lake: Lake, files: int, age_s: float, close_all: bool, sizes: list[int]) -> None:
    for i in range(files):
        drop(lake, f"raw/uploads/{i}.jpg")
    manifests = plan_batches(lake, "uploads", policy(), T0 + timedelta(seconds=age_s), close_all)
    assert [len(m.objects) for m in manifests] == sizes
    assert [m.batch_id for m in manifests] == list_batches(lake, "uploads") == sorted(m.batch_id for m in manifests)
    keys = [o.key for m in manifests for o in m.objects]
    assert len(keys) == len(set(keys))
    assert [read_manifest(lake, "uploads", m.batch_id) for m in manifests] == manifests


def test_lists_each_object_once_and_a_rewritten_file_again(lake: Lake) -> None:
    drop(lake, "raw/uploads/a.jpg")
    now = T0 + timedelta(hours=1)
    (first,) = plan_batches(lake, "uploads", policy(), now)
    assert plan_batches(lake, "uploads", policy(), now) == []
    ingest_uploads(lake, first.batch_id, policy())
    drop(lake, "raw/uploads/a.jpg", b"y", T0 + timedelta(seconds=1))  # same size, written later
    drop(lake, "raw/uploads/b.jpg")
    assert [[o.key for o in m.objects] for m in plan_batches(lake, "uploads", policy(), now)] == [
        ["raw/uploads/b.jpg", "raw/uploads/a.jpg"]
    ]


def test_same_objects_have_the_same_digest(tmp_path: Path) -> None:
    digests = []
    for name, seconds in (("one", 100), ("two", 200)):
        lake = Lake.open(tmp_path / name)
        drop(lake, "raw/uploads/a.jpg")
        (manifest,) = plan_batches(lake, "uploads", policy(), T0 + timedelta(seconds=seconds))
        digests.append(manifest.batch_id.split("-")[1])
    assert digests[0] == digests[1]


@pytest.mark.parametrize(
    ("key", "photo", "label"),
    [
        ("raw/a.jpg", True, False),
        ("raw/a.JPG", True, False),
        ("raw/a.xyz", True, False),
        ("raw/a", True, False),
        ("raw/a.txt", False, True),
        ("raw/a.json", False, True),
        ("raw/manifest.csv", False, False),
        ("raw/data.yaml", False, False),
        ("raw/classes.txt", False, False),
        ("raw/x.manifest", False, True),
    ],
)
def test_what_is_a_photograph_and_what_a_label(key: str, photo: bool, label: bool) -> None:
    assert (is_photograph(key), is_label(key)) == (photo, label)


@pytest.mark.parametrize("batch_id", ["", "../../x", "20260301T120000000000-0123456789ab"])
def test_an_unknown_batch_is_an_error(lake: Lake, batch_id: str) -> None:
    with pytest.raises(BatchError, match="no uploads batch"):
        read_manifest(lake, "uploads", batch_id)


def test_a_label_waits_for_its_photograph(lake: Lake) -> None:
    current_policy, now = policy(label_wait_s=3600), T0 + timedelta(minutes=1)
    for name in ("a", "lonely"):
        drop(lake, f"raw/labels/{name}.txt")
    drop(lake, "raw/labels/all.json")
    drop(lake, "raw/uploads/a.jpg", photograph(1))
    assert plan_batches(lake, "labels", current_policy, now) == []
    (uploads,) = plan_batches(lake, "uploads", current_policy, now)
    ingest_uploads(lake, uploads.batch_id, current_policy)
    assert plan_batches(lake, "labels", current_policy, now) == []  # its images are not in yet
    build_images(lake, uploads.batch_id, current_policy)
    (labels,) = plan_batches(lake, "labels", current_policy, now)
    assert sorted(o.key for o in labels.objects) == ["raw/labels/a.txt", "raw/labels/all.json"]
    (late,) = plan_batches(lake, "labels", current_policy, T0 + timedelta(hours=2))
    assert [o.key for o in late.objects] == ["raw/labels/lonely.txt"]


def test_the_end_of_an_import_waits_for_nothing(lake: Lake) -> None:
    drop(lake, "raw/labels/a.txt")
    assert len(plan_batches(lake, "labels", policy(), T0, close_all=True)) == 1
