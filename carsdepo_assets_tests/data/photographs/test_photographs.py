"""data/photographs/ingest.py: every uploaded object ends in exactly one place, whenever a run is killed."""

from __future__ import annotations

import hashlib
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from carsdepo_assets.data.batches.batches import BatchError, plan_batches
from carsdepo_assets.data.photographs.ingest import build_images, build_processed, ingest_uploads, object_key
from carsdepo_assets.lake.lake import Lake, LakeError
from carsdepo_assets.policy import DataPolicy, Policy
from carsdepo_assets_tests.data.photograph_files import NOW, animated, photograph

RULES = Policy(data=DataPolicy(max_bytes=200_000, longest_side_px=128))


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake.open(tmp_path / "lake")


def batch(lake: Lake, files: dict[str, bytes]) -> str:
    for name, data in files.items():
        lake.put(f"raw/uploads/{name}", data)
    (manifest,) = plan_batches(lake, "uploads", RULES, NOW)
    return manifest.batch_id


def test_every_object_has_its_outcome(lake: Lake) -> None:
    one = photograph(1)
    name = batch(
        lake,
        {
            "a.jpg": one,
            "again.jpg": one,
            "empty.jpg": b"",
            "huge.jpg": bytes(200_001),
            "text.jpg": b"hello " * 20,
            "cut.jpg": photograph(2)[:900],
            "dot.png": _png(1, 1),
            "film.gif": animated(),
            "strange.xyz": b"\0" * 50,
            "manifest.csv": b"file\n",
            "wide.png": _png(300, 100),
        },
    )
    uploads = ingest_uploads(lake, name, RULES)
    assert {row["key"][12:]: row["outcome"] for row in uploads.rows.to_pylist()} == {
        "a.jpg": "new",
        "again.jpg": "duplicate",
        "empty.jpg": "quarantined",
        "huge.jpg": "quarantined",
        "text.jpg": "new",
        "cut.jpg": "new",
        "dot.png": "new",
        "film.gif": "new",
        "strange.xyz": "new",
        "wide.png": "new",
    }
    images = build_images(lake, name, RULES)
    assert [row["key"] for row in images.rows.to_pylist()] == ["raw/uploads/a.jpg", "raw/uploads/wide.png"]
    assert {row["key"][12:]: row["reason"] for row in images.quarantined.to_pylist()} == {
        "empty.jpg": "empty",
        "huge.jpg": "too_large",
        "text.jpg": "not_an_image",
        "cut.jpg": "truncated",
        "dot.png": "too_small",
        "film.gif": "animated",
        "strange.xyz": "not_an_image",
    }
    processed = build_processed(lake, name, RULES).rows.to_pylist()
    sizes = {row["image_id"]: (row["width"], row["height"], row["scale"]) for row in processed}
    assert sizes == {
        hashlib.sha256(one).hexdigest(): (64, 48, 1.0),
        hashlib.sha256(_png(300, 100)).hexdigest(): (128, 43, 128 / 300),
    }
    for row in processed:
        assert row["object_key"] == object_key(row["image_id"])
        assert hashlib.sha256(lake.get(row["object_key"])).hexdigest() == row["sha256"]


def test_a_committed_batch_is_not_done_again(lake: Lake) -> None:
    name = batch(lake, {"a.jpg": photograph(1), "bad.jpg": b"no"})
    first = (ingest_uploads(lake, name, RULES), build_images(lake, name, RULES), build_processed(lake, name, RULES))
    versions = [lake.version(t) for t in ("uploads", "images", "quarantine", "processed")]
    lake.delete("raw/uploads/a.jpg")  # a second reading would fail
    seen: list[int] = []
    again = (
        ingest_uploads(lake, name, RULES),
        build_images(lake, name, RULES, lambda count, _: seen.append(count)),
        build_processed(lake, name, RULES),
    )
    assert again == first
    assert seen == []
    assert versions == [lake.version(t) for t in ("uploads", "images", "quarantine", "processed")]


def test_the_same_bytes_later_are_a_duplicate_even_while_the_first_batch_is_under_way(lake: Lake) -> None:
    first = batch(lake, {"a.jpg": photograph(1)})
    ingest_uploads(lake, first, RULES)
    second = batch(lake, {"b.jpg": photograph(1)})
    (row,) = ingest_uploads(lake, second, RULES).rows.to_pylist()
    assert (row["outcome"], row["reason"]) == ("duplicate", "same bytes as raw/uploads/a.jpg")
    build_images(lake, second, RULES)
    build_images(lake, first, RULES)
    assert lake.read("images")["key"].to_pylist() == ["raw/uploads/a.jpg"]


def test_refused_bytes_are_refused_again_with_their_reason(lake: Lake) -> None:
    for name in ("a.jpg", "b.jpg"):
        batch_id = batch(lake, {name: b"not an image"})
        ingest_uploads(lake, batch_id, RULES)
        assert build_images(lake, batch_id, RULES).quarantined["reason"].to_pylist() == ["not_an_image"]


@pytest.mark.parametrize(("after", "reason"), [(None, "missing"), (photograph(9), "changed")])
@pytest.mark.parametrize("ingested", [False, True])
def test_a_file_that_went_or_changed_is_said_so(lake: Lake, after: bytes | None, reason: str, ingested: bool) -> None:
    batch_id = batch(lake, {"a.jpg": photograph(1), "b.jpg": photograph(2)})
    if ingested:
        ingest_uploads(lake, batch_id, RULES)
    lake.delete("raw/uploads/a.jpg")
    if after is not None:
        lake.put("raw/uploads/a.jpg", after)
    ingest_uploads(lake, batch_id, RULES)
    images = build_images(lake, batch_id, RULES)
    assert images.rows["key"].to_pylist() == ["raw/uploads/b.jpg"]
    assert images.quarantined["reason"].to_pylist() == [reason]


def test_a_lost_copy_is_made_again(lake: Lake) -> None:
    batch_id = batch(lake, {"a.jpg": photograph(1)})
    ingest_uploads(lake, batch_id, RULES)
    key = object_key(build_images(lake, batch_id, RULES).rows["image_id"][0].as_py())
    before = lake.get(key)
    lake.delete(key)
    build_processed(lake, batch_id, RULES)
    assert lake.get(key) == before


def test_steps_out_of_order_say_what_to_run(lake: Lake) -> None:
    batch_id = batch(lake, {"a.jpg": photograph(1)})
    with pytest.raises(BatchError, match="materialize `uploads` first"):
        build_images(lake, batch_id, RULES)
    ingest_uploads(lake, batch_id, RULES)
    with pytest.raises(BatchError, match="materialize `images` first"):
        build_processed(lake, batch_id, RULES)
    with pytest.raises(BatchError, match="no uploads batch"):
        ingest_uploads(lake, "20260301T120000000000-0123456789ab", RULES)


_KILLED = """
import itertools, os, signal, sys
from carsdepo_assets.data.photographs.ingest import build_images, build_processed, ingest_uploads
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.policy import DataPolicy, Policy
root, batch, method, when, n = sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[4], int(sys.argv[5])
plain, numbers = getattr(Lake, method), itertools.count(1)
def deadly(self, *args):
    number = next(numbers)  # puts come from several threads
    if number == n and when == "before":
        os.kill(os.getpid(), signal.SIGKILL)
    result = plain(self, *args)
    if number == n and when == "after":
        os.kill(os.getpid(), signal.SIGKILL)
    return result
setattr(Lake, method, deadly)
lake, rules = Lake.open(root), Policy(data=DataPolicy(max_bytes=200_000, longest_side_px=128))
ingest_uploads(lake, batch, rules)
build_images(lake, batch, rules)
build_processed(lake, batch, rules)
"""


# Appends in order: quarantine and uploads, quarantine and images, processed.
@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "when", "n"),
    [
        ("append", "after", 1),
        ("append", "after", 2),
        ("put", "before", 1),
        ("put", "after", 3),
        ("append", "before", 3),
        ("append", "after", 3),
        ("append", "after", 4),
        ("append", "before", 5),
    ],
)
def test_killed_anywhere_the_next_run_finishes(tmp_path: Path, method: str, when: str, n: int) -> None:
    lake = Lake.open(tmp_path / "lake")
    files = {f"{i}.jpg": photograph(i) for i in range(5)}
    files |= {"bad.jpg": b"no", "twin.jpg": photograph(0), "nil.jpg": b""}
    batch_id = batch(lake, files)
    killed = subprocess.run(
        [sys.executable, "-c", _KILLED, lake.url, batch_id, method, when, str(n)],
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    uploads = ingest_uploads(lake, batch_id, RULES)
    images = build_images(lake, batch_id, RULES)
    build_processed(lake, batch_id, RULES)
    assert len(uploads.rows) == len(files)
    expected = sorted(hashlib.sha256(photograph(i)).hexdigest() for i in range(5))
    assert sorted(lake.read("images")["image_id"].to_pylist()) == expected
    assert sorted(lake.read("processed")["image_id"].to_pylist()) == expected
    assert sorted(lake.read("quarantine")["reason"].to_pylist()) == ["empty", "not_an_image"]
    assert len(images.quarantined) == 2
    assert sorted(o.key for o in lake.list("objects/")) == sorted(map(object_key, expected))


def _png(width: int, height: int) -> bytes:
    import io

    out = io.BytesIO()
    Image.fromarray(np.full((height, width, 3), 90, np.uint8)).save(out, "PNG")
    return out.getvalue()


@pytest.mark.parametrize("step", ["uploads", "images"])
def test_a_photograph_that_cannot_be_read_now_is_not_given_up(
    lake: Lake, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    name = batch(lake, {"a.jpg": photograph(1), "b.jpg": photograph(2)})
    if step == "images":
        ingest_uploads(lake, name, RULES)
    real = Lake.get

    def out_of_reach(own: Lake, key: str) -> bytes:
        if key.endswith("uploads/b.jpg"):
            raise LakeError(f"{key}: refused: SlowDown")
        return real(own, key)

    with monkeypatch.context() as patch:
        patch.setattr(Lake, "get", out_of_reach)
        with pytest.raises(LakeError, match="SlowDown"):
            ingest_uploads(lake, name, RULES) if step == "uploads" else build_images(lake, name, RULES)
    ingest_uploads(lake, name, RULES)
    images = build_images(lake, name, RULES)
    assert (images.rows.num_rows, images.quarantined.num_rows) == (2, 0)


@pytest.mark.parametrize("out_of_reach", ["objects/", "raw/"])
def test_a_copy_that_cannot_be_read_now_is_not_gone(
    lake: Lake, monkeypatch: pytest.MonkeyPatch, out_of_reach: str
) -> None:
    name = batch(lake, {"a.jpg": photograph(1)})
    ingest_uploads(lake, name, RULES)
    (image,) = build_images(lake, name, RULES).rows.to_pylist()
    if out_of_reach == "raw/":
        lake.delete(object_key(image["image_id"]))
    real = Lake.get

    def throttled(own: Lake, key: str) -> bytes:
        if key.startswith(out_of_reach):
            raise LakeError(f"{key}: refused: SlowDown")
        return real(own, key)

    monkeypatch.setattr(Lake, "get", throttled)
    with pytest.raises(LakeError, match="SlowDown"):
        build_processed(lake, name, RULES)
