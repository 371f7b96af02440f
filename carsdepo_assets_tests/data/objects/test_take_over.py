"""data/objects/take_over.py: a lake of an earlier version is taken over once, and nothing of it is ingested twice."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from carsdepo_assets.data.batches.batches import Kind, list_batches, open_batches, plan_batches
from carsdepo_assets.data.labels.label_revisions import ingest_labels
from carsdepo_assets.data.objects import take_over
from carsdepo_assets.data.objects.manifests import manifest_key
from carsdepo_assets.data.photographs.ingest import build_images, build_processed, ingest_uploads
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.policy import DataPolicy, Policy
from carsdepo_assets_tests.data.photograph_files import NOW
from carsdepo_assets_tests.data.small_lake import car

RULES = Policy(data=DataPolicy(longest_side_px=64, batch_max_images=3))
KINDS: tuple[Kind, ...] = ("uploads", "labels")
TABLES = ("uploads", "images", "processed", "annotations", "quarantine")
LABELS = {
    "raw/labels/web/a.txt": b"0 0.5 0.5 0.2 0.2\n",
    "raw/labels/web/late.txt": b"",
    "raw/labels/web/twin.txt": b"x",
}
PHOTOGRAPHS = {
    "raw/uploads/web/a.jpg": car(1),
    "raw/uploads/web/b.jpg": car(2),
    "raw/uploads/web/twin.jpg": car(1),
    "raw/uploads/web/bad.jpg": b"no photograph",
    "raw/uploads/web/nil.jpg": b"",
}


def ingest(lake: Lake) -> None:
    for kind in KINDS:
        for batch in list_batches(lake, kind):
            if kind == "uploads":
                for step in (ingest_uploads, build_images, build_processed):
                    step(lake, batch, RULES)
            else:
                ingest_labels(lake, batch, RULES, NOW)


@pytest.fixture
def old_lake(tmp_path: Path) -> Lake:
    """As the version before left it: manifests and tables; one batch is closed and not ingested."""
    lake = Lake.open(tmp_path / "lake")
    lake.put("raw/labels/web/classes.txt", b"scratch\ndent\n")
    for key, data in {**PHOTOGRAPHS, **LABELS}.items():
        lake.put(key, data)
    for kind in KINDS:
        plan_batches(lake, kind, RULES, NOW, close_all=True)
        ingest(lake)
    lake.put("raw/uploads/web/open.jpg", car(7))
    plan_batches(lake, "uploads", RULES, NOW, close_all=True)
    for kind in KINDS:
        for batch in list_batches(lake, kind):
            manifest = json.loads(lake.get(manifest_key(kind, batch)))
            for entry in manifest["objects"]:
                entry.pop("etag")
            lake.put(manifest_key(kind, batch), json.dumps(manifest).encode())
    shutil.rmtree(tmp_path / "lake/tables/objects")
    shutil.rmtree(tmp_path / "lake/.cache")
    return lake


def rows(lake: Lake) -> dict[str, int]:
    return {table: lake.read(table).num_rows for table in TABLES}


def plan(lake: Lake) -> list[list[str]]:
    """Everything is looked at, as an hour later."""
    later = NOW + timedelta(days=1)
    return [
        sorted(o.key for o in manifest.objects)
        for kind in KINDS
        for manifest in plan_batches(lake, kind, RULES, later, close_all=True)
    ]


def test_nothing_is_new_and_what_was_open_is_open(old_lake: Lake) -> None:
    before, batches = rows(old_lake), list_batches(old_lake, "uploads")
    assert len(batches) == 3
    assert plan(old_lake) == []
    assert [open_batches(old_lake, kind) for kind in KINDS] == [batches[-1:], []]
    ingest(old_lake)
    assert rows(old_lake) == {**before, "uploads": before["uploads"] + 1, "images": 3, "processed": 3}
    assert plan(old_lake) == []


def test_touched_files_and_those_compared_before_are_not_new(old_lake: Lake) -> None:
    (key, batch) = "raw/uploads/web/a.jpg", list_batches(old_lake, "uploads")[0]
    again = {"key": key, "size": len(PHOTOGRAPHS[key]), "modified_at": "2001-09-09T01:46:40Z", "batch_id": batch}
    listed = [b for b in list_batches(old_lake, "uploads") if key in old_lake.get(manifest_key("uploads", b)).decode()]
    old_lake.put("batches/rechecked/uploads/1.json", json.dumps([{**again, "batch_id": listed[0]}]).encode())
    shutil.rmtree(Path(old_lake.root or "") / "tables/objects")
    shutil.rmtree(Path(old_lake.root or "") / ".cache")
    os.utime(old_lake.local_path(key), (1e9, 1e9))
    os.utime(old_lake.local_path("raw/labels/web/a.txt"), (1e9, 1e9))
    os.utime(old_lake.local_path("raw/uploads/web/b.jpg"), (1e9, 1e9))
    assert plan(old_lake) == []
    os.utime(old_lake.local_path(key), (2e9, 2e9))
    old_lake.put(key, car(9))
    assert plan(old_lake) == [[key]]


def test_quarantined_labels_are_healed_and_changed_ones_read(old_lake: Lake) -> None:
    assert plan(old_lake) == []
    old_lake.put("raw/uploads/web/late.jpg", car(8))
    assert plan(old_lake) == [["raw/uploads/web/late.jpg"]]
    ingest(old_lake)
    assert plan(old_lake) == [["raw/labels/web/late.txt"]]


@pytest.mark.parametrize("commits", [0, 1, 2, 3])
@pytest.mark.slow
def test_interrupted_anywhere_it_goes_on(old_lake: Lake, monkeypatch: pytest.MonkeyPatch, commits: int) -> None:
    monkeypatch.setattr(take_over, "_OBJECTS_A_COMMIT", 3)
    plain: Callable[..., None] = take_over.append_objects
    done: list[str] = []

    class Killed(BaseException):
        pass

    def deadly(lake: Lake, entries: object, unit: str, at: object) -> None:
        if len(done) == commits:
            raise Killed
        done.append(unit)
        plain(lake, list(entries), unit, at)  # type: ignore[call-overload]

    before = rows(old_lake)
    with monkeypatch.context() as patch:
        patch.setattr(take_over, "append_objects", deadly)
        with pytest.raises(Killed):
            plan(old_lake)
    assert len(done) == commits
    assert plan(old_lake) == []
    assert len(list_batches(old_lake, "uploads")) == 3
    written = old_lake.read("objects")
    assert len(set(zip(written["key"].to_pylist(), written["batch_id"].to_pylist(), strict=True))) == written.num_rows
    assert rows(old_lake) == before
