"""lake/objects.py, lake/lake.py: objects by key, alike in a folder and on S3."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from carsdepo_assets.lake.lake import Lake, LakeError
from carsdepo_assets.lake.objects import ObjectMissing

KEYS = [
    "a.jpg", "raw/uploads/a b.jpg", "ä/日本語.jpg", "e\u0301.jpg", "a%20b.jpg", "a#1", "a~b?.jpg", "we*ird[1].jpg",
    "a+b&c=d.jpg", "back\\slash.jpg", "/".join("d" * 3 for _ in range(60)) + "/x.jpg",
]  # fmt: skip
BAD_KEYS = ["", "/abs", "a/../b", "..", "./a", "a//b", "a/", "new\nline", "nul\0", "bad\udcff.jpg", "x" * 1025]


def test_what_is_put_is_got_listed_and_deleted(lake: Lake) -> None:
    for i, key in enumerate(KEYS):
        lake.put(key, b"x" * i)
    for i, key in enumerate(KEYS):
        assert lake.get(key) == b"x" * i
        assert lake.local_path(key).read_bytes() == b"x" * i
    listed = list(lake.list())
    assert [(o.key, o.size) for o in listed] == sorted((key, i) for i, key in enumerate(KEYS))
    assert all(abs(o.modified_at - datetime.now(UTC)) < timedelta(minutes=5) for o in listed)
    assert all(o.modified_at.utcoffset() == timedelta(0) for o in listed)
    for key in KEYS:
        lake.delete(key)
        lake.delete(key)  # a second time is no error
        assert not lake.exists(key)
    assert list(lake.list()) == []


def test_listing_is_by_folder_and_in_order_of_key(lake: Lake) -> None:
    for key in ("b/1", "b-2/1", "b.jpg", "b/sub/2", "b0", "a"):
        lake.put(key, b"1")
    assert [o.key for o in lake.list("b")] == ["b/1", "b/sub/2"]
    assert [o.key for o in lake.list("b/")] == ["b/1", "b/sub/2"]
    assert [o.key for o in lake.list()] == ["a", "b-2/1", "b.jpg", "b/1", "b/sub/2", "b0"]
    assert list(lake.list("nothing/here")) == []


def test_a_missing_object_is_named(lake: Lake) -> None:
    assert not lake.exists("no/such.jpg")
    for read in (lake.get, lake.local_path):
        with pytest.raises(KeyError, match=r"no/such\.jpg") as caught:
            read("no/such.jpg")
        assert isinstance(caught.value, LakeError)


def test_a_folder_is_not_an_object(lake: Lake) -> None:
    lake.put("a/b", b"1")
    assert not lake.exists("a")
    with pytest.raises(KeyError):
        lake.get("a")


@pytest.mark.parametrize("key", BAD_KEYS)
def test_bad_keys_are_refused(lake: Lake, key: str) -> None:
    for use in (lake.get, lake.exists, lake.delete, lake.local_path, lambda k: lake.put(k, b"1")):
        with pytest.raises(LakeError, match="cannot be a key"):
            use(key)


def test_put_replaces_and_a_local_copy_is_never_stale(lake: Lake) -> None:
    lake.put("k.json", b"one")
    assert lake.local_path("k.json").read_bytes() == b"one"
    lake.put("k.json", b"other")
    assert lake.get("k.json") == b"other"
    assert lake.local_path("k.json").read_bytes() == b"other"
    assert lake.local_path("k.json").suffix == ".json"


def test_a_lake_travels_to_another_process(lake: Lake) -> None:
    lake.put("k", b"v")
    again = pickle.loads(pickle.dumps(lake))
    assert (again.url, again.root, again.get("k")) == (lake.url, lake.root, b"v")


@pytest.mark.parametrize("url", ["", "  ", "gs://bucket/x", "s3://", "s3:///x"])
def test_urls_that_are_no_lake(url: str) -> None:
    with pytest.raises(LakeError):
        Lake.open(url)


def test_file_url_and_path_are_one_lake(tmp_path: Path) -> None:
    Lake.open(tmp_path / "a b").put("k", b"v")
    assert Lake.open((tmp_path / "a b").as_uri()).get("k") == b"v"


def test_a_file_where_the_lake_should_be(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("x")
    with pytest.raises(LakeError, match="cannot be created"):
        Lake.open(tmp_path / "f")


def test_bucket_that_does_not_exist_is_an_error_not_an_empty_lake(s3_url: str) -> None:
    lake = Lake.open("s3://no-such-bucket/x")
    with pytest.raises(LakeError, match="no-such-bucket"):
        list(lake.list())
    with pytest.raises(LakeError, match="no-such-bucket"):
        lake.read("images")


def test_the_environment_is_read_when_the_lake_opens(s3_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    lake = Lake.open(s3_url)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    lake.put("k", b"v")
    assert lake.get("k") == b"v"
    assert lake.append("splits", [{"image_id": "x"}], "u")


def test_a_put_reaches_the_disk_before_and_after_the_rename(folder_lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    fsync, replace = os.fsync, os.replace

    def seen_fsync(descriptor: int) -> None:
        calls.append("folder" if os.path.isdir(f"/proc/self/fd/{descriptor}") else "file")
        fsync(descriptor)

    def seen_replace(a: str, b: str) -> None:
        calls.append("rename")
        replace(a, b)

    monkeypatch.setattr(os, "fsync", seen_fsync)
    monkeypatch.setattr(os, "replace", seen_replace)
    folder_lake.put("x/y/k", b"1")
    assert calls == ["folder", "folder", "file", "rename", "folder"]  # two new folders' names, then the object


WRITER = """
import sys
from carsdepo_assets.lake.lake import Lake
lake = Lake.open(sys.argv[1])
print("ready", flush=True)
i = 0
while True:
    lake.put("objects/k", bytes([i % 251]) * 4_000_000)
    i += 1
"""


def test_a_killed_put_leaves_whole_bytes(folder_lake: Lake) -> None:
    process = subprocess.Popen([sys.executable, "-c", WRITER, folder_lake.url], stdout=subprocess.PIPE)
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == b"ready\n"
        deadline = time.monotonic() + 20
        while not folder_lake.exists("objects/k"):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        seen = [folder_lake.get("objects/k") for _ in range(20)]  # readers meanwhile
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
    for data in [*seen, folder_lake.get("objects/k")]:
        assert len(data) == 4_000_000
        assert data == data[:1] * len(data)
    assert [o.key for o in folder_lake.list()] == ["objects/k"]


def test_a_name_too_long_for_the_file_system_is_of_no_object(folder_lake: Lake) -> None:
    key = f"queues/{'a' * 300}/queue.json"
    assert not folder_lake.exists(key)
    with pytest.raises(ObjectMissing):
        folder_lake.get(key)
    with pytest.raises(ObjectMissing):
        folder_lake.local_path(key)
