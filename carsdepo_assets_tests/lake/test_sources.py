"""lake/sources.py: what a source lists, and when it says that nothing changed."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest

from carsdepo_assets.lake.lake import Lake, LakeError
from carsdepo_assets.lake.sources import FolderSource, S3ListingSource, source_for, wanted


def keys(lake: Lake) -> list[str]:
    return [o.key for o in source_for(lake, "raw/uploads").poll(None)[0]]


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("a.jpg", True), ("x/a.jpg", True), ("party.jpg", True), ("a.part.jpg", True), ("tmp", True),
        (".a.jpg", False), (".git/a.jpg", False), ("x/.DS_Store", False), ("a.jpg.part", False), ("a.PART", False),
        ("a.tmp", False), (".put-0123.tmp", False),
    ],
)  # fmt: skip
def test_wanted(key: str, expected: bool) -> None:
    assert wanted(key) is expected


def test_poll_of_nothing(lake: Lake) -> None:
    objects, cursor = source_for(lake, "raw/uploads").poll(None)
    assert objects == []
    assert source_for(lake, "raw/uploads").poll(cursor) == ([], cursor)


def test_poll_gives_all_when_something_changed_and_nothing_otherwise(lake: Lake) -> None:
    source = source_for(lake, "raw/uploads/")
    for key in ("raw/uploads/b.jpg", "raw/uploads/x/a.jpg", "raw/uploads-2/c.jpg", "raw/labels/b.txt"):
        lake.put(key, b"1")
    lake.put("raw/uploads/.hidden", b"1")
    lake.put("raw/uploads/x/late.jpg.part", b"1")
    objects, cursor = source.poll(None)
    assert [o.key for o in objects] == ["raw/uploads/b.jpg", "raw/uploads/x/a.jpg"]
    assert source.poll(cursor) == ([], cursor)
    lake.put("raw/uploads/y.jpg.part", b"1")
    assert source.poll(cursor) == ([], cursor)
    lake.put("raw/uploads/x/a.jpg", b"22")
    objects, later = source.poll(cursor)
    assert later != cursor
    assert [(o.key, o.size) for o in objects] == [("raw/uploads/b.jpg", 1), ("raw/uploads/x/a.jpg", 2)]


def test_a_file_with_an_old_time_is_not_lost(folder_lake: Lake) -> None:
    folder_lake.put("raw/uploads/new.jpg", b"1")
    source = source_for(folder_lake, "raw/uploads")
    _, cursor = source.poll(None)
    folder_lake.put("raw/uploads/old.jpg", b"1")
    os.utime(folder_lake.local_path("raw/uploads/old.jpg"), (0, 1))
    assert [o.key for o in source.poll(cursor)[0]] == ["raw/uploads/new.jpg", "raw/uploads/old.jpg"]


def test_a_source_is_of_its_lake(lake: Lake) -> None:
    own, other = (S3ListingSource, FolderSource) if lake.root is None else (FolderSource, S3ListingSource)
    assert isinstance(source_for(lake, "raw"), own)
    with pytest.raises(ValueError, match="use "):
        other(lake, "raw")


def test_links_and_special_files_are_not_followed(folder_lake: Lake, tmp_path: Path) -> None:
    folder_lake.put("raw/uploads/x/a.jpg", b"1")
    folder = tmp_path / "lake/raw/uploads"
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/secret.jpg").write_bytes(b"1")
    (folder / "x/loop").symlink_to(folder)
    (folder / "self").symlink_to(folder / "self")
    (folder / "outside").symlink_to(tmp_path / "outside")
    (folder / "secret.jpg").symlink_to(tmp_path / "outside/secret.jpg")
    (folder / "dangling.jpg").symlink_to(tmp_path / "nothing")
    os.mkfifo(folder / "pipe.jpg")
    assert keys(folder_lake) == ["raw/uploads/x/a.jpg"]


def test_deep_folders(folder_lake: Lake) -> None:
    key = "raw/uploads/" + "d/" * 400 + "a.jpg"
    folder_lake.put(key, b"1")
    assert keys(folder_lake) == [key]


def test_a_path_longer_than_a_key_is_left_out_aloud(
    folder_lake: Lake, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder_lake.put("raw/uploads/a.jpg", b"1")
    deep = tmp_path / "lake/raw/uploads" / "/".join("d" * 200 for _ in range(6))
    deep.mkdir(parents=True)
    (deep / "b.jpg").write_bytes(b"1")
    with caplog.at_level(logging.WARNING):
        assert keys(folder_lake) == ["raw/uploads/a.jpg"]
    assert "longer than 1024 bytes" in caplog.text


def test_unicode_names_stay_as_they_are(folder_lake: Lake, tmp_path: Path) -> None:
    names = ["Zo\u00eb.jpg", "Zoe\u0308.jpg", "日本.jpg", "🚗 scratch.jpg", "\u200f.jpg", "a\u00a0b.jpg"]
    folder = tmp_path / "lake/raw/uploads"
    folder.mkdir(parents=True)
    for name in names:
        (folder / name).write_bytes(b"1")
    assert keys(folder_lake) == [f"raw/uploads/{n}" for n in sorted(names)]
    assert all(folder_lake.get(k) == b"1" for k in keys(folder_lake))


@pytest.mark.parametrize("name", [b"caf\xe9.jpg", b"new\nline.jpg"])
def test_a_name_that_cannot_be_a_key_is_left_out_aloud(
    folder_lake: Lake, tmp_path: Path, caplog: pytest.LogCaptureFixture, name: bytes
) -> None:
    folder_lake.put("raw/uploads/good.jpg", b"1")
    folder = os.fsencode(tmp_path / "lake/raw/uploads")
    with open(os.path.join(folder, name), "wb") as file:
        file.write(b"1")
    with caplog.at_level(logging.WARNING):
        assert keys(folder_lake) == ["raw/uploads/good.jpg"]
    assert "Rename it" in caplog.text


def test_a_folder_that_may_not_be_read_is_an_error(folder_lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    folder_lake.put("raw/uploads/x/a.jpg", b"1")
    scandir = os.scandir

    def refusing(path: str) -> object:  # chmod would not stop a test that runs as root
        if str(path).endswith("uploads/x"):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    with pytest.raises(LakeError, match=r"uploads/x.*permissions"):
        keys(folder_lake)
