"""data/objects/object_states.py: the same bytes under a key are no new object, whatever their time; other bytes are."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from carsdepo_assets.data.batches.batches import Kind, list_batches, manifest_key, plan_batches, read_manifest
from carsdepo_assets.data.labels.label_revisions import ingest_labels
from carsdepo_assets.data.objects import object_states
from carsdepo_assets.data.objects.object_states import sha256_of
from carsdepo_assets.data.photographs.ingest import build_images, ingest_uploads
from carsdepo_assets.lake.lake import Lake, LakeError, ObjectMissing
from carsdepo_assets.lake.object_index import index_path
from carsdepo_assets.policy import DataPolicy, Policy
from carsdepo_assets_tests.data.photograph_files import NOW, photograph
from carsdepo_assets_tests.data.small_lake import CLASS_NAMES, car

RULES = Policy(data=DataPolicy(longest_side_px=64))
LATER = NOW + timedelta(days=1)
KINDS: tuple[Kind, ...] = ("uploads", "labels")
BOX, OTHER_BOX = b"0 0.5 0.5 0.20 0.2\n", b"0 0.5 0.5 0.25 0.2\n"
FILES = {f"raw/uploads/{i}.jpg": car(i) for i in range(4)} | {f"raw/labels/{i}.txt": BOX for i in range(4)}


@pytest.fixture
def hashes(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often the planner hashed each key."""
    counted: Counter[str] = Counter()
    real = object_states.sha256_of

    def counting(lake: Lake, key: str) -> str | None:
        counted[key] += 1
        return real(lake, key)

    monkeypatch.setattr(object_states, "sha256_of", counting)
    return counted


def forget(lake: Lake) -> None:
    """What another machine finds: no index."""
    for path in index_path(lake).parent.glob("objects-*"):
        path.unlink()


def plan(lake: Lake, kind: Kind, at: datetime = LATER, current_policy: Policy = RULES) -> list[list[str]]:
    """The keys of each batch that is due."""
    return [[o.key for o in manifest.objects] for manifest in plan_batches(lake, kind, current_policy, at)]


def ingest(lake: Lake) -> None:
    if not lake.exists("raw/labels/classes.txt"):
        lake.put("raw/labels/classes.txt", CLASS_NAMES)
    for kind in KINDS:
        plan_batches(lake, kind, RULES, NOW, close_all=True)
        for batch in list_batches(lake, kind):
            if kind == "uploads":
                ingest_uploads(lake, batch, RULES)
                build_images(lake, batch, RULES)
            else:
                ingest_labels(lake, batch, RULES, NOW)


def touch(lake: Lake, at: datetime = NOW, keys: Iterator[str] | None = None) -> None:
    for key in keys or FILES:
        os.utime(Path(lake.root or "", key), (at.timestamp(), at.timestamp()))


def rows(lake: Lake) -> dict[str, int]:
    return {t: lake.read(t).num_rows for t in ("uploads", "images", "processed", "annotations", "quarantine")}


@contextmanager
def nothing_new(lake: Lake) -> Iterator[None]:
    """Nothing is planned by what the block does, and ingesting all again adds no row."""
    before, batches = rows(lake), [list_batches(lake, kind) for kind in KINDS]
    yield
    assert [plan(lake, kind) for kind in KINDS] == [[], []]
    ingest(lake)
    assert [list_batches(lake, kind) for kind in KINDS] == batches
    assert rows(lake) == before


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """Four photographs with their labels, and an empty file; all ingested."""
    opened_lake = Lake.open(tmp_path / "lake")
    for key, data in FILES.items():
        opened_lake.put(key, data)
    opened_lake.put("raw/uploads/empty.jpg", b"")
    ingest(opened_lake)
    return opened_lake


def test_touched_files_are_hashed_once_and_are_not_new(lake: Lake, hashes: Counter[str]) -> None:
    for round in range(2):
        touch(lake, NOW + timedelta(hours=round), iter([*FILES, "raw/uploads/empty.jpg"]))
        with nothing_new(lake):
            pass
        assert hashes == dict.fromkeys(FILES, 1)  # the empty one has nothing to hash
        hashes.clear()
        assert [plan(lake, kind) for kind in KINDS] == [[], []]
        forget(lake)  # as another process finds it
        assert [plan(lake, kind) for kind in KINDS] == [[], []]
        assert not hashes


def test_a_copied_lake_is_not_new_and_the_first_one_is_not_touched(lake: Lake, tmp_path: Path) -> None:
    shutil.copytree(tmp_path / "lake", tmp_path / "copy", copy_function=shutil.copyfile)  # times of now, as `cp -r`
    state = {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in (tmp_path / "lake").rglob("*") if p.is_file()}
    with nothing_new(Lake.open(tmp_path / "copy")):
        pass
    assert {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in (tmp_path / "lake").rglob("*") if p.is_file()} == state


@pytest.mark.parametrize(
    ("key", "data"), [("raw/uploads/1.jpg", car(1)[:-3] + b"\x00\xff\xd9"), ("raw/labels/1.txt", OTHER_BOX)]
)
def test_other_bytes_of_the_same_size_are_one_new_batch_and_back_again_another(
    lake: Lake, key: str, data: bytes, hashes: Counter[str]
) -> None:
    kind: Kind = "uploads" if "uploads" in key else "labels"
    for n, content in enumerate((data, FILES[key], data)):
        assert len(content) == len(FILES[key])
        lake.put(key, content)
        touch(lake, NOW + timedelta(hours=n))
        assert plan(lake, kind) == [[key]]
        assert plan(lake, kind) == []
        ingest(lake)
        with nothing_new(lake):
            pass
    if kind == "labels":
        newest = max(lake.read("annotations").to_pylist(), key=lambda r: r["sequence"])
        assert [round(b["x2"] - b["x1"], 3) for b in newest["boxes"]] == [0.25 * 96]


def test_a_restored_file_counts_though_it_brings_its_old_time_back(lake: Lake) -> None:
    key = "raw/labels/1.txt"
    old = (Path(lake.root or "") / key).stat().st_mtime
    lake.put(key, OTHER_BOX)
    touch(lake, LATER, iter([key]))
    ingest(lake)
    lake.put(key, BOX)
    os.utime(Path(lake.root or "", key), (old, old))
    assert plan(lake, "labels") == [[key]]
    ingest(lake)
    rows = [r for r in lake.read("annotations").to_pylist() if r["key"] == key]
    widths = [r["boxes"][0]["x2"] - r["boxes"][0]["x1"] for r in sorted(rows, key=lambda r: r["sequence"])]
    assert widths == pytest.approx([0.2 * 96, 0.25 * 96, 0.2 * 96])


def test_a_photograph_that_waits_for_its_run_is_listed_once(tmp_path: Path) -> None:
    """Its run reads what stands there: touched or rewritten at the same size, it needs no second batch."""
    lake, key, current_policy = Lake.open(tmp_path / "lake"), "raw/uploads/a.jpg", RULES
    first, second = (b"one photograph", b"two photograph")
    lake.put(key, first)
    (batch,) = plan_batches(lake, "uploads", current_policy, NOW, close_all=True)
    lake.put(key, second)
    touch(lake, NOW, iter([key]))
    assert plan(lake, "uploads") == []
    ingest_uploads(lake, batch.batch_id, current_policy)
    assert plan(lake, "uploads") == []
    lake.put(key, first)
    touch(lake, NOW + timedelta(hours=1), iter([key]))
    assert plan(lake, "uploads") == [[key]]
    lake.put(key, b"of another size")  # which the run of the open batch would refuse
    assert plan(lake, "uploads", LATER + timedelta(days=9)) == [[key]]


def test_a_file_that_was_gone_when_its_batch_was_read_is_new_when_it_is_back(lake: Lake) -> None:
    lake.put("raw/uploads/late.jpg", photograph(9))
    lake.put("raw/labels/late.txt", b"")
    for kind in KINDS:
        plan_batches(lake, kind, RULES, NOW, close_all=True)
    lake.delete("raw/uploads/late.jpg")
    lake.delete("raw/labels/late.txt")
    ingest(lake)
    lake.put("raw/uploads/late.jpg", photograph(9))
    lake.put("raw/labels/late.txt", b"")
    touch(lake, LATER, iter(["raw/uploads/late.jpg", "raw/labels/late.txt"]))
    ingest(lake)
    assert "raw/uploads/late.jpg" in lake.read("images")["key"].to_pylist()
    assert "raw/labels/late.txt" in lake.read("annotations")["key"].to_pylist()


def test_a_touched_label_still_gets_its_photograph_that_came_later(tmp_path: Path) -> None:
    lake = Lake.open(tmp_path / "lake")
    lake.put("raw/labels/a.txt", BOX)
    ingest(lake)
    assert lake.read("quarantine")["reason"].to_pylist() == ["no_photograph"]
    touch(lake, NOW, iter(["raw/labels/a.txt"]))
    assert plan(lake, "labels") == []
    lake.put("raw/uploads/a.jpg", photograph(1))
    ingest(lake)
    assert lake.read("annotations").num_rows == 1
    assert len(list_batches(lake, "labels")) == 2
    with nothing_new(lake):
        pass


def test_a_tick_hashes_no_more_than_the_policy_says_and_forgets_nothing(lake: Lake, hashes: Counter[str]) -> None:
    touch(lake)
    current_policy = Policy(data=DataPolicy(recheck_bytes=1))
    for tick in range(1, 5):
        assert plan(lake, "uploads", current_policy=current_policy) == []
        assert sum(hashes.values()) == tick
    assert plan(lake, "uploads", current_policy=current_policy) == []
    assert hashes == {key: 1 for key in FILES if "uploads" in key}


def test_a_clock_that_goes_back_does_not_repeat_batches(lake: Lake) -> None:
    key = "raw/uploads/1.jpg"
    for n, day in enumerate((3, 2, 1)):
        lake.put(key, car(20 + n))
        touch(lake, NOW + timedelta(days=day), iter([key]))
        (manifest,) = plan_batches(lake, "uploads", RULES, NOW - timedelta(days=9 * n), close_all=True)
        assert list_batches(lake, "uploads")[-1] == manifest.batch_id
        assert plan(lake, "uploads", NOW - timedelta(days=9 * n)) == []
        ingest_uploads(lake, manifest.batch_id, RULES)
        assert plan(lake, "uploads", NOW - timedelta(days=9 * n)) == []


def test_a_lake_that_was_reset_is_new(lake: Lake, tmp_path: Path) -> None:
    """In the process that knew the lake before: its memory goes with the manifests."""
    shutil.rmtree(tmp_path / "lake")
    again = Lake.open(tmp_path / "lake")
    for key, data in FILES.items():
        again.put(key, data)
    assert [sorted(o.key for o in m.objects) for m in plan_batches(again, "uploads", RULES, NOW, close_all=True)] == [
        sorted(key for key in FILES if "uploads" in key)
    ]


def test_manifests_of_the_version_before_are_compared_with_the_tables(lake: Lake) -> None:
    """They have no sha256 of labels: rows of annotations and uploads say what was read."""
    for kind in KINDS:
        for batch in list_batches(lake, kind):
            manifest = read_manifest(lake, kind, batch)
            text = manifest.model_dump_json(exclude={"objects": {"__all__": {"sha256"}}})
            assert "sha256" not in text
            lake.put(manifest_key(kind, batch), text.encode())
    forget(lake)
    touch(lake)
    with nothing_new(lake):
        pass


def test_bytes_that_cannot_be_read_now_are_not_taken_for_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    class OutOfReach:
        root = None

        def get(self, key: str) -> bytes:
            raise (ObjectMissing if key == "gone" else LakeError)(key)

    lake: Any = OutOfReach()
    assert sha256_of(lake, "gone") is None
    with pytest.raises(LakeError, match="throttled"):
        sha256_of(lake, "throttled")
