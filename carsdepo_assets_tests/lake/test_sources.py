"""lake/sources.py: what a source delivers, and that it does so until it is acknowledged."""

from __future__ import annotations

import logging
import os
import time
from pathlib import Path

import pytest

from carsdepo_assets.lake.lake import Lake, LakeError
from carsdepo_assets.lake.source_choice import source_for
from carsdepo_assets.lake.sources import FolderSource, S3ListingSource, listing, wanted
from carsdepo_assets_tests.lake.source_contract import Remembered, SourceContract


def keys(lake: Lake) -> list[str]:
    """What the source of an empty memory delivers, and what a listing does."""
    delivered, _ = source_for(lake, "raw/uploads", Remembered()).poll(None)
    assert sorted(o.key for o in delivered) == [o.key for o in listing(lake, "raw/uploads/")]
    return sorted(o.key for o in delivered)


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


class TestFolderSource(SourceContract):
    @pytest.fixture
    def lake(self, folder_lake: Lake) -> Lake:
        return folder_lake

    def test_a_file_with_an_old_time_is_not_lost(self, lake: Lake) -> None:
        source = self.source(lake, Remembered())
        lake.put("raw/uploads/old.jpg", b"1")
        os.utime(lake.local_path("raw/uploads/old.jpg"), (0, 1))
        assert [o.key for o in source.poll(None)[0]] == ["raw/uploads/old.jpg"]

    def test_only_folders_with_another_time_are_looked_into(self, lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("a", "b", "c/d"):
            lake.put(f"raw/uploads/{name}/1.jpg", b"1")
        settle(lake)
        memory = Remembered()
        source, looked = self.source(lake, memory), looked_into(monkeypatch)
        objects, cursor = source.poll(None)
        memory.keep(objects)
        source.ack(cursor)
        assert sorted(looked) == ["uploads", "uploads/a", "uploads/b", "uploads/c", "uploads/c/d"]
        looked.clear()
        assert source.poll(None)[0] == []
        assert looked == []
        lake.put("raw/uploads/c/d/2.jpg", b"1")
        lake.put("raw/uploads/e/f/1.jpg", b"1")
        assert sorted(o.key for o in source.poll(None)[0]) == ["raw/uploads/c/d/2.jpg", "raw/uploads/e/f/1.jpg"]
        assert sorted(looked) == ["uploads", "uploads/c/d", "uploads/e", "uploads/e/f"]

    @pytest.mark.parametrize(("file_age_s", "looked_into_again"), [(1, True), (3600, False), (-3600, False)])
    def test_a_folder_stays_hot_while_a_file_may_still_be_written(
        self, lake: Lake, monkeypatch: pytest.MonkeyPatch, file_age_s: float, looked_into_again: bool
    ) -> None:
        lake.put("raw/uploads/a/1.jpg", b"half")
        settle(lake)
        path, written_at = lake.local_path("raw/uploads/a/1.jpg"), time.time() - file_age_s
        os.utime(path, (written_at, written_at))
        source = self.source(lake, Remembered())
        source.ack(source.poll(None)[1])
        path.write_bytes(b"half and the rest")  # in place: no folder's time changes
        looked = looked_into(monkeypatch)
        assert [o.size for o in source.poll(None)[0]] == [17] * looked_into_again
        assert looked == ["uploads/a"] * looked_into_again
        assert [o.size for o in source.reconcile()[0]] == [17]

    def test_a_folder_that_was_renamed_is_looked_into(self, lake: Lake) -> None:
        lake.put("raw/uploads/a/b/1.jpg", b"1")
        lake.put("raw/uploads/x/b/2.jpg", b"1")
        settle(lake)
        memory = Remembered()
        source = self.source(lake, memory)
        objects, cursor = source.poll(None)
        memory.keep(objects)
        source.ack(cursor)
        uploads = lake.local_path("raw/uploads/a/b/1.jpg").parents[2]
        (uploads / "a").rename(uploads / "gone")
        (uploads / "x").rename(uploads / "a")
        for path in (uploads / "a", uploads / "a/b"):  # as old as those that stood there before
            os.utime(path, (1e9, 1e9))
        assert sorted(o.key for o in source.poll(None)[0]) == ["raw/uploads/a/b/2.jpg", "raw/uploads/gone/b/1.jpg"]


class TestS3ListingSource(SourceContract):
    @pytest.fixture
    def lake(self, s3_url: str, tmp_path: Path) -> Lake:
        return Lake.open(s3_url, cache=tmp_path / "cache")


def settle(lake: Lake) -> None:
    """All files and folders of raw/ are old."""
    for path in [lake.root / "raw", *(lake.root / "raw").rglob("*")]:  # type: ignore[operator]
        os.utime(path, (1e9, 1e9))


def looked_into(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The folders below raw/ that are listed from now on."""
    folders: list[str] = []
    scandir = os.scandir

    def noting(path: str) -> object:
        folders.append(str(path).partition("/raw/")[2])
        return scandir(path)

    monkeypatch.setattr(os, "scandir", noting)
    return folders


def test_a_source_is_of_its_lake(lake: Lake) -> None:
    own, other = (S3ListingSource, FolderSource) if lake.root is None else (FolderSource, S3ListingSource)
    assert isinstance(source_for(lake, "raw", Remembered()), own)
    with pytest.raises(ValueError, match="use "):
        other(lake, "raw", Remembered())


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
    folder.rename(tmp_path / "elsewhere")
    folder.symlink_to(tmp_path / "elsewhere")
    assert keys(folder_lake) == []


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
