"""data/imports/import_sources.py, in_place.py, lake/objects.py: a folder, an archive or a prefix of S3 becomes an
import.

They stand here because the S3 of the lake's tests does.
"""

from __future__ import annotations

import os
import zipfile
from datetime import timedelta
from pathlib import Path

import pytest

from carsdepo_assets.data.imports import import_sources
from carsdepo_assets.data.imports.archives import ArchiveRefused
from carsdepo_assets.data.imports.import_sources import SourceRefused, folder_of, left_over, remove_left_over
from carsdepo_assets.data.imports.importing import ImportRefused, import_folder
from carsdepo_assets.data.imports.in_place import in_place_name, register_in_place
from carsdepo_assets.data.labels.import_records import read_import_record
from carsdepo_assets.lake.lake import Lake, LakeError
from carsdepo_assets.lake.objects import ObjectMissing
from carsdepo_assets.lake.s3_objects import S3Objects
from carsdepo_assets.policy import Policy
from carsdepo_assets_tests.data.photograph_files import NOW, photograph

RULES = Policy()
FILES = {
    "images/a.jpg": photograph(1), "images/ä b.jpg": photograph(2), "labels/a.txt": b"0 .5 .5 .1 .1\n",
    "classes.txt": b"scratch\ndent\n",
}  # fmt: skip


def below(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def bucket(s3_url: str, files: dict[str, bytes]) -> Lake:
    """Files below s3_url/cars, put there by a lake that is the whole prefix."""
    store = Lake.open(s3_url)
    for name, data in files.items():
        store.put(f"cars/{name}", data)
    return store


def test_a_folder_is_itself(tmp_path: Path) -> None:
    (tmp_path / "cars").mkdir()
    with folder_of(str(tmp_path / "cars"), tmp_path / "work") as folder:
        assert folder == tmp_path / "cars"
    assert not (tmp_path / "work").exists()


def test_an_archive_is_unpacked_named_and_removed(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "my cars.zip", "w") as archive:
        for name, data in FILES.items():
            archive.writestr(f"export-7/{name}", data)
    lake = Lake.open(tmp_path / "lake")
    with folder_of(str(tmp_path / "my cars.zip"), tmp_path / "work") as folder:
        assert (folder.name, below(folder)) == ("my cars", FILES)
        assert [p.name for p in folder.parent.iterdir()] == ["my cars"]  # names of classes are looked for above, too
        result = import_folder(lake, folder, "yolo", {}, RULES, NOW)
    assert (result.name, result.photographs, result.labels) == ("my-cars", 2, 1)
    assert list((tmp_path / "work").iterdir()) == []
    with folder_of(str(tmp_path / "my cars.zip"), tmp_path / "work") as folder:
        assert import_folder(lake, folder, "yolo", {}, RULES, NOW).copied == 0


def test_what_a_killed_import_left_is_removed(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "cars.zip", "w") as archive:
        archive.writestr("a.jpg", b"a")
    with folder_of(str(tmp_path / "cars.zip"), tmp_path / "work") as folder:
        kept, left = folder, folder / "left.jpg"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"x")
    with folder_of(str(tmp_path / "cars.zip"), tmp_path / "work") as folder:
        assert (folder, below(folder)) == (kept, {"a.jpg": b"a"})


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("none", None, "is not there: give a folder"),
        ("a.7z", b"7z", r"\.7z is not read here"),
        ("a.rar", b"Rar", r"\.rar is not read here"),
        ("a.jpg", b"jpg", "neither a .zip nor a .tar"),
        ("https://example.org/a.zip", None, "cannot be imported"),
        ("s3://", None, "names no bucket"),
    ],
)
def test_what_is_no_source(tmp_path: Path, name: str, data: bytes | None, message: str) -> None:
    source = name if "://" in name else str(tmp_path / name)
    if data is not None:
        Path(source).write_bytes(data)
    with pytest.raises((SourceRefused, ArchiveRefused), match=message), folder_of(source, tmp_path / "work"):
        raise AssertionError("it was taken")


def test_a_prefix_of_s3_is_copied(tmp_path: Path, s3_url: str) -> None:
    bucket(s3_url, {**FILES, ".hidden/a.jpg": b"x", "images/b.jpg.part": b"x"}).put("cars-2/c.jpg", b"another import")
    seen: list[tuple[int, int]] = []
    with folder_of(f"{s3_url}/cars/", tmp_path / "work", lambda n, of: seen.append((n, of))) as folder:
        assert (folder.name, below(folder)) == ("cars", FILES)
    assert seen == [(i, len(FILES)) for i in range(1, len(FILES) + 1)]
    assert list((tmp_path / "work").iterdir()) == []


def test_a_download_that_was_broken_off_goes_on(tmp_path: Path, s3_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    store = bucket(s3_url, FILES)
    asked: list[str] = []
    real = S3Objects.download

    def download(self: S3Objects, key: str, path: Path) -> None:
        asked.append(key.rsplit("cars/", 1)[1])
        if len(asked) == 3:
            path.write_bytes(b"a part")
            raise KeyboardInterrupt
        real(self, key, path)

    monkeypatch.setattr(import_sources, "_READERS", 1)
    monkeypatch.setattr(S3Objects, "download", download)
    with pytest.raises(KeyboardInterrupt), folder_of(f"{s3_url}/cars", tmp_path / "work"):
        raise AssertionError("it was not broken off")
    first, asked[:] = asked[:2], ["", "", ""]
    changed = b"1 .5 .5 .1 .1\n"
    store.put("cars/labels/a.txt", changed)
    with pytest.raises(ImportRefused), folder_of(f"{s3_url}/cars", tmp_path / "work") as folder:
        import_folder(Lake.open(tmp_path / "lake"), folder, "no format", {}, RULES, NOW)
    assert below(folder) == {**FILES, "labels/a.txt": changed}  # for the next try
    assert not {*asked[3:]} & {*first} - {"labels/a.txt"}
    asked[:] = [""] * 4
    with folder_of(f"{s3_url}/cars", tmp_path / "work") as folder:
        assert below(folder) == {**FILES, "labels/a.txt": changed}
    assert asked[4:] == []


def test_an_archive_on_s3(tmp_path: Path, s3_url: str) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("a.jpg", b"a")
    Lake.open(s3_url).put("in/new cars.zip", (tmp_path / "x.zip").read_bytes())
    with folder_of(f"{s3_url}/in/new cars.zip", tmp_path / "work") as folder:
        assert (folder.name, below(folder)) == ("new cars", {"a.jpg": b"a"})
    assert list((tmp_path / "work").iterdir()) == []


def test_what_s3_does_not_have_is_named(tmp_path: Path, s3_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SourceRefused, match="there is nothing below it"), folder_of(f"{s3_url}/no", tmp_path / "work"):
        pass
    with pytest.raises(LakeError, match="Check the bucket"), folder_of("s3://no-such-bucket/a", tmp_path / "work"):
        pass
    bucket(s3_url, FILES)
    monkeypatch.setattr(import_sources, "FREE_SHARE", 1e-15)
    with pytest.raises(SourceRefused, match="Make room"), folder_of(f"{s3_url}/cars", tmp_path / "work"):
        pass


def test_an_object_is_downloaded_in_pieces(lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = bytes(range(256)) * 9000
    lake.put("a.jpg", data)
    lake.download("a.jpg", tmp_path / "a.jpg")
    assert (tmp_path / "a.jpg").read_bytes() == data
    with pytest.raises(ObjectMissing):
        lake.download("b.jpg", tmp_path / "b.jpg")
    assert not (tmp_path / "b.jpg").exists()


def test_in_place_is_below_the_lakes_own_uploads_and_nowhere_else(lake: Lake, tmp_path: Path) -> None:
    assert in_place_name(f"{lake.url}/raw/uploads/cars/", lake) == "cars"
    for source in (
        f"{lake.url}/raw/uploads/", f"{lake.url}/raw/uploads/cars/day", f"{lake.url}/raw/labels/cars", "s3://other/raw/uploads/cars",
        str(tmp_path / "cars"),
    ):  # fmt: skip
        with pytest.raises(SourceRefused, match=r"only .*/raw/uploads/NAME can"):
            in_place_name(source, lake)


def test_in_place_says_what_class_ids_mean_and_copies_nothing(lake: Lake) -> None:
    with pytest.raises(SourceRefused, match="no photograph"):
        register_in_place(lake, "cars", None, {}, RULES)
    lake.put("raw/uploads/cars/a.jpg", photograph(1))
    assert register_in_place(lake, "cars", None, {}, RULES) == (1, 0)
    lake.put("raw/labels/cars/a.txt", b"0 .5 .5 .1 .1\n")
    for classes, message in ((None, "Say it by --classes"), ("rust,dent", "rust is none of"), ("dent,", "empty")):
        with pytest.raises(SourceRefused, match=message):
            register_in_place(lake, "cars", classes, {}, RULES)
    before = [o.key for o in lake.list("raw")]
    assert register_in_place(lake, "cars", "Dent,rust", {"rust": "scratch"}, RULES) == (1, 1)
    record = read_import_record(lake, "cars")
    assert record is not None
    assert record["options"]["class_ids"] == {"0": 1, "1": 0}
    assert [o.key for o in lake.list("raw")] == before
    assert register_in_place(lake, "cars", None, {}, RULES) == (1, 1)
    # Corrected classes: the labels are read again with them.
    register_in_place(lake, "cars", "scratch,dent", {"dent": "-"}, RULES)
    record = read_import_record(lake, "cars")
    assert record is not None
    assert record["options"]["class_ids"] == {"0": 0, "1": None}


def test_what_a_broken_off_import_left_is_told_and_removed_after_a_week(tmp_path: Path) -> None:
    work = tmp_path / "sources"
    assert (left_over(work), remove_left_over("anything", work, NOW)) == ([], "")
    for name, days in (("0" * 16, 8), ("1" * 16, 6), ("2" * 16, 30)):
        place = work / name
        (place / "files").mkdir(parents=True)
        (place / "files" / "a.jpg").write_bytes(b"x" * 1000)
        (place / "downloaded.jsonl").write_bytes(b"")
        at = (NOW - timedelta(days=days)).timestamp()
        for path in (place / "files", place / "downloaded.jsonl", place):
            os.utime(path, (at, at))
    (work / "notes").mkdir()  # a person's
    assert [(one.place.name[0], one.size) for one in left_over(work)] == [("2", 1000), ("0", 1000), ("1", 1000)]
    own = import_sources._place(work, "s3://bucket/cars")
    (work / ("2" * 16)).rename(own)
    assert "1,000 bytes" in remove_left_over("s3://bucket/cars/", work, NOW)
    assert sorted(p.name for p in work.iterdir()) == sorted(["1" * 16, own.name, "notes"])
    assert "1,000 bytes" in remove_left_over("elsewhere", work, NOW)
    assert sorted(p.name for p in work.iterdir()) == ["1" * 16, "notes"]


def test_the_list_of_names_of_an_archive_is_told_by_its_path_there(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "cars.zip", "w") as archive:
        for name, data in FILES.items():
            archive.writestr(name, data)
    with folder_of(str(tmp_path / "cars.zip"), tmp_path / "work") as folder:
        result = import_folder(Lake.open(tmp_path / "lake"), folder, "auto", {}, RULES, NOW)
    assert result.summary.endswith("names of classes: classes.txt")
