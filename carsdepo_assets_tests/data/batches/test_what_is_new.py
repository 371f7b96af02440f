"""data/batches/batches.py, data/objects/object_states.py, data/labels/waiting_labels.py: nothing is lost and nothing
comes twice, through
kills and repairs; labels are read again when their photograph or their import's classes come."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from carsdepo_assets.data.batches.batches import Kind, list_batches, open_batches, plan_batches
from carsdepo_assets.data.imports.import_states import accepted_keys
from carsdepo_assets.data.labels.import_records import import_record_key
from carsdepo_assets.data.labels.label_revisions import ingest_labels
from carsdepo_assets.data.objects.object_states import mark_ingested
from carsdepo_assets.data.photographs.ingest import build_images, build_processed, ingest_uploads
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.policy import DataPolicy, Policy
from carsdepo_assets_tests.data.photograph_files import NOW
from carsdepo_assets_tests.data.small_lake import car

RULES = Policy(data=DataPolicy(longest_side_px=64, batch_max_age_s=0, batch_max_images=2, reconcile_s=3600))
SOON, LATER = NOW + timedelta(seconds=10), NOW + timedelta(hours=2)
BOX = b"0 0.5 0.5 0.2 0.2\n"


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake.open(tmp_path / "lake")


def plan(lake: Lake, kind: Kind = "uploads", now: datetime = NOW, policy: Policy = RULES) -> list[list[str]]:
    prefix = f"raw/{kind}/"
    return [[o.key.removeprefix(prefix) for o in m.objects] for m in plan_batches(lake, kind, policy, now)]


def settle(lake: Lake) -> None:
    """All files and folders of raw/ are old, so that no folder is hot."""
    for path in [Path(lake.root or "") / "raw", *(Path(lake.root or "") / "raw").rglob("*")]:
        os.utime(path, (1.7e9, 1.7e9))


def in_place(lake: Lake, key: str, data: bytes) -> None:
    """Writes a file as an editor may: no folder's time changes, and the file's is another."""
    path = lake.local_path(key)
    path.write_bytes(data)
    os.utime(path, (1.75e9, 1.75e9))


def ingest(lake: Lake, now: datetime = NOW) -> None:
    """Ingests all that is there, as a command does."""
    for kind in ("uploads", "labels"):
        plan_batches(lake, kind, RULES, now, close_all=True)  # type: ignore[arg-type]
        run(lake, kind, now)  # type: ignore[arg-type]


def run(lake: Lake, kind: Kind, now: datetime = NOW) -> None:
    for batch in open_batches(lake, kind):
        if kind == "uploads":
            ingest_uploads(lake, batch, RULES)
            build_images(lake, batch, RULES)
            build_processed(lake, batch, RULES)
        else:
            ingest_labels(lake, batch, RULES, now)
        mark_ingested(lake, kind, batch, now)


def reasons(lake: Lake) -> list[str]:
    return [row["reason"] for row in lake.read("quarantine").to_pylist()]


def drop_labels(lake: Lake, files: dict[str, bytes]) -> None:
    """With names of classes, so that they can be read."""
    lake.put("raw/labels/web/classes.txt", b"scratch\ndent\n")
    for name, data in files.items():
        lake.put(f"raw/labels/web/{name}", data)


def coco(*files: str) -> bytes:
    images = [{"id": i, "file_name": file, "width": 96, "height": 72} for i, file in enumerate(files)]
    boxes = [{"id": i, "image_id": i, "category_id": 1, "bbox": [10, 10, 20, 20]} for i in range(len(files))]
    return json.dumps({"images": images, "annotations": boxes, "categories": [{"id": 1, "name": "scratch"}]}).encode()


_KILLED = """
import os, signal, sys
from datetime import UTC, datetime
from carsdepo_assets.data.batches.batches import plan_batches
from carsdepo_assets.lake import object_index, sources
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets_tests.data.batches.test_what_is_new import NOW, RULES
root, owner, method, when, n = sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[4], int(sys.argv[5])
owner = {"lake": Lake, "source": sources.FolderSource, "index": object_index.ObjectIndex}[owner]
plain, calls = getattr(owner, method), 0
def deadly(self, *args):
    global calls
    calls += 1
    if calls == n and when == "before":
        os.kill(os.getpid(), signal.SIGKILL)
    result = plain(self, *args)
    if calls == n and when == "after":
        os.kill(os.getpid(), signal.SIGKILL)
    return result
setattr(owner, method, deadly)
plan_batches(Lake.open(root), "uploads", RULES, NOW)
"""


# A plan: manifests (put), the commit that makes them count (append; in a new lake after one that says that it is new),
# acknowledgement, and its place in the index.
@pytest.mark.parametrize(
    ("new_lake", "owner", "method", "when", "n"),
    [
        (False, "source", "poll", "after", 1),
        (False, "lake", "put", "after", 1),
        (False, "lake", "put", "after", 3),
        (False, "lake", "append", "before", 1),
        (False, "lake", "append", "after", 1),
        (False, "source", "ack", "before", 1),
        (False, "index", "keep_place", "before", 1),
        (False, "source", "ack", "after", 1),
        (True, "lake", "put", "after", 2),
        (True, "lake", "append", "after", 1),
        (True, "lake", "append", "after", 2),
    ],
)
@pytest.mark.slow
def test_a_plan_killed_anywhere_loses_nothing_and_lists_nothing_twice(
    lake: Lake, new_lake: bool, owner: str, method: str, when: str, n: int
) -> None:
    keys = [f"raw/uploads/web/{i}.jpg" for i in range(6)]
    for i, key in enumerate(keys):
        lake.put(key, car(i))
        if i == 0 and not new_lake:
            plan_batches(lake, "uploads", RULES, NOW, close_all=True)  # so that the next one polls
    killed = subprocess.run(
        [sys.executable, "-c", _KILLED, lake.url, owner, method, when, str(n)],
        cwd=Path(__file__).parents[3], capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    plan(lake, now=SOON)
    assert plan(lake, now=SOON) == []
    run(lake, "uploads")
    rows = lake.read("uploads").to_pylist()
    assert sorted(row["key"] for row in rows) == keys
    assert {row["outcome"] for row in rows} == {"new"}
    assert lake.read("images").num_rows == len(keys)
    assert open_batches(lake, "uploads") == []


def test_files_that_are_no_full_batch_wait_and_are_not_looked_for_again(lake: Lake) -> None:
    rules = Policy(data=DataPolicy(batch_max_age_s=10**9, batch_max_images=3))
    for name in ("a", "b"):
        lake.put(f"raw/uploads/x/{name}.jpg", name.encode())
    settle(lake)
    assert plan(lake, policy=rules) == []
    assert plan(lake, policy=rules) == []
    version = lake.version("objects")
    lake.put("raw/uploads/y/c.jpg", b"c")
    assert [sorted(keys) for keys in plan(lake, policy=rules)] == [["x/a.jpg", "x/b.jpg", "y/c.jpg"]]
    assert lake.version("objects") == version + 1
    assert plan(lake, policy=rules) == []


def test_a_waiting_file_is_listed_as_it_is_when_its_batch_closes(lake: Lake) -> None:
    rules = Policy(data=DataPolicy(batch_max_age_s=10**9, batch_max_images=3))
    for name in ("a", "b"):
        lake.put(f"raw/uploads/{name}.jpg", name.encode())
    settle(lake)
    assert plan(lake, policy=rules) == []
    in_place(lake, "raw/uploads/a.jpg", b"longer")
    lake.delete("raw/uploads/b.jpg")
    settle(lake)
    lake.put("raw/uploads/x/c.jpg", b"c")
    assert plan(lake, policy=rules) == []  # two are left
    lake.put("raw/uploads/x/d.jpg", b"d")
    (manifest,) = plan_batches(lake, "uploads", rules, NOW)
    assert {o.key[12:]: o.size for o in manifest.objects} == {"a.jpg": 6, "x/c.jpg": 1, "x/d.jpg": 1}


def test_a_file_rewritten_in_place_is_found_within_the_hour_or_at_once_by_a_command(lake: Lake) -> None:
    lake.put("raw/uploads/web/a.jpg", car(1))
    settle(lake)
    ingest(lake)
    in_place(lake, "raw/uploads/web/a.jpg", car(2))
    assert plan(lake, now=SOON) == []
    assert plan(lake, now=LATER) == [["web/a.jpg"]]
    run(lake, "uploads")
    in_place(lake, "raw/uploads/web/a.jpg", car(3))
    assert plan(lake, now=LATER) == []
    (manifest,) = plan_batches(lake, "uploads", RULES, LATER, name="web")
    assert [o.key for o in manifest.objects] == ["raw/uploads/web/a.jpg"]


def test_a_command_for_one_import_closes_nothing_else(lake: Lake) -> None:
    rules = Policy(data=DataPolicy(batch_max_age_s=10**9))
    for key in ("one/a.jpg", "one/b.jpg", "one-more/a.jpg", "a.jpg"):
        lake.put(f"raw/uploads/{key}", key.encode())
    (manifest,) = plan_batches(lake, "uploads", rules, NOW, close_all=True, name="one")
    assert sorted(o.key for o in manifest.objects) == ["raw/uploads/one/a.jpg", "raw/uploads/one/b.jpg"]
    assert list_batches(lake, "uploads") == [manifest.batch_id]
    (rest,) = plan_batches(lake, "uploads", rules, NOW, close_all=True)
    assert sorted(o.key for o in rest.objects) == ["raw/uploads/a.jpg", "raw/uploads/one-more/a.jpg"]


def test_what_is_gone_is_noted_once_and_is_not_new_when_it_is_back(
    lake: Lake, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("a", "b"):
        lake.put(f"raw/uploads/web/{name}.jpg", car(ord(name)))
    settle(lake)
    ingest(lake)
    path = lake.local_path("raw/uploads/web/a.jpg")
    path.rename(path.parents[3] / "aside")
    assert plan(lake, now=LATER) == []
    assert plan(lake, now=LATER + timedelta(hours=2)) == []
    assert [r.getMessage() for r in caplog.records if "gone" in r.getMessage()] == [
        "1 files that were known are gone from raw/uploads, first raw/uploads/web/a.jpg; what was read of them stays."
    ]
    (path.parents[3] / "aside").rename(path)
    assert plan(lake, now=LATER) == []
    assert plan(lake, now=LATER + timedelta(hours=9)) == []
    assert len(list_batches(lake, "uploads")) == 1


def test_a_half_copied_photograph_is_taken_when_it_is_whole_and_so_is_its_label(lake: Lake) -> None:
    whole = car(1)
    lake.put("raw/uploads/web/half.jpg", whole[: len(whole) // 3])
    lake.put("raw/uploads/web/good.jpg", car(2))
    drop_labels(lake, {"half.txt": BOX, "good.txt": BOX})
    settle(lake)
    ingest(lake)
    assert len(reasons(lake)) == 2
    assert "no_photograph" in reasons(lake)
    keys = ["raw/uploads/web/half.jpg", "raw/uploads/web/good.jpg", "raw/uploads/web/none.jpg"]
    assert accepted_keys(lake, keys) == {keys[1]}
    lake.put(keys[0], whole)
    assert plan(lake, now=SOON) == [["web/half.jpg"]]
    run(lake, "uploads")
    assert lake.read("images").num_rows == 2
    assert plan(lake, "labels", SOON) == [["web/half.txt"]]
    run(lake, "labels", SOON)
    assert lake.read("annotations").num_rows == 2
    assert [plan(lake, kind, LATER) for kind in ("uploads", "labels")] == [[], []]  # type: ignore[arg-type]


def test_a_copy_that_stalled_and_goes_on_in_place_is_taken_without_a_look_at_everything(lake: Lake) -> None:
    whole, half, good = car(1), "raw/uploads/web/half.jpg", "raw/uploads/web/good.jpg"
    lake.put(half, whole[: len(whole) // 3])
    lake.put(good, car(2))
    settle(lake)
    for key in (half, good):
        os.utime(lake.local_path(key), (NOW.timestamp() - 60, NOW.timestamp() - 60))
    ingest(lake)
    assert plan(lake, now=SOON) == []
    lake.local_path(half).write_bytes(whole)
    lake.local_path(good).write_bytes(car(3))
    assert plan(lake, now=SOON) == [["web/half.jpg"]]
    assert plan(lake, now=SOON) == []
    assert plan(lake, now=LATER) == [["web/good.jpg"]]


@pytest.mark.parametrize(
    ("label", "data"),
    [
        ("a.txt", BOX),
        ("all.json", coco("a.jpg")),
        ("deep/all.json", coco("images/a.jpg")),
        ("all.json", coco("0123abcd-a.jpg")),  # Label Studio's prefix
        (
            "a.xml",
            b"<annotation><filename>a.jpg</filename><size><width>96</width><height>72</height></size><object><name>dent"
            b"</name><bndbox><xmin>9</xmin><ymin>9</ymin><xmax>30</xmax><ymax>30</ymax></bndbox></object></annotation>",
        ),
    ],
)
@pytest.mark.slow
def test_labels_of_every_format_are_tried_again_when_their_photograph_comes(
    lake: Lake, label: str, data: bytes
) -> None:
    drop_labels(lake, {label: data})
    settle(lake)
    ingest(lake)
    assert reasons(lake) == ["no_photograph"]
    lake.put("raw/uploads/web/other.jpg", car(1))
    lake.put("raw/uploads/elsewhere/a.jpg", car(2))
    ingest(lake)
    assert len(list_batches(lake, "labels")) == 1  # these are not the one that it wants
    lake.put("raw/uploads/web/a.jpg", car(3))
    plan(lake, now=SOON)
    run(lake, "uploads")
    assert plan(lake, "labels", SOON) == [[f"web/{label}"]]
    run(lake, "labels", SOON)
    assert lake.read("annotations").num_rows == 1
    assert plan(lake, "labels", LATER) == []


def test_a_label_that_still_lacks_a_photograph_is_not_tried_for_ever(lake: Lake) -> None:
    drop_labels(lake, {"all.json": coco("a.jpg", "b.jpg")})
    settle(lake)
    ingest(lake)
    for n, name in enumerate(("a", "x", "b"), 2):
        lake.put(f"raw/uploads/web/{name}.jpg", car(n))
        for _ in range(2):
            ingest(lake)
    assert len(list_batches(lake, "labels")) == 3  # at first, with a, with b
    assert lake.read("annotations").num_rows == 2


def record(lake: Lake, name: str, class_ids: dict[str, int], **more: object) -> None:
    content = {"origin": "yolo", "options": {"import": name, "format": "yolo", "class_ids": class_ids}, **more}
    lake.put(import_record_key(name), json.dumps(content).encode())


def test_labels_are_read_again_when_their_import_means_other_classes(lake: Lake) -> None:
    for name in ("one", "two"):
        record(lake, name, {"0": 0, "1": 1})
        lake.put(f"raw/uploads/{name}/a.jpg", car(ord(name[0])))
        lake.put(f"raw/labels/{name}/a.txt", BOX)
    settle(lake)
    ingest(lake)
    assert plan(lake, "labels", SOON) == []
    record(lake, "two", {"0": 1, "1": 0}, unfinished=True)
    assert plan(lake, "labels", SOON) == []
    record(lake, "two", {"0": 1, "1": 0})
    assert plan(lake, "labels", SOON) == [["two/a.txt"]]
    run(lake, "labels", SOON)
    rows = sorted(lake.read("annotations").to_pylist(), key=lambda row: row["sequence"])
    assert [(row["key"], row["boxes"][0]["class_id"]) for row in rows[-1:]] == [("raw/labels/two/a.txt", 1)]
    assert len(rows) == 3
    assert plan(lake, "labels", LATER) == []
    os.utime(lake.local_path(import_record_key("two")))  # written again as it is
    assert plan(lake, "labels", LATER) == []
