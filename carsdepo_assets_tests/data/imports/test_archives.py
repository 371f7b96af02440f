"""data/imports/archives.py: an archive is unpacked whole under its names, or refused with nothing left."""

from __future__ import annotations

import io
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from carsdepo_assets.data.imports import archives
from carsdepo_assets.data.imports.archives import ArchiveRefused, is_archive, stem_of, unpack

Files = dict[str, bytes]
CARS: Files = {"images/a.jpg": b"a", "labels/a.txt": b"0 .5 .5 .1 .1\n", "data.yaml": b"names: [scratch, dent]\n"}


def zipped(path: Path, files: Files, compression: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def taped(path: Path, files: Files, mode: str = "w:gz") -> Path:
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def unpacked(archive: Path) -> Files:
    folder = archive.parent / "out"
    number = unpack(archive, folder)
    files = {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    assert len(files) == number
    return files


PACKERS: dict[str, Callable[[Path, Files], Path]] = {
    "c.zip": zipped,
    "c.ZIP": lambda path, files: zipped(path, files, zipfile.ZIP_STORED),
    "bz.zip": lambda path, files: zipped(path, files, zipfile.ZIP_BZIP2),
    "c.tar": lambda path, files: taped(path, files, "w"),
    "c.tar.gz": taped,
    "c.tgz": taped,
    "c.tar.bz2": lambda path, files: taped(path, files, "w:bz2"),
    "c.tar.xz": lambda path, files: taped(path, files, "w:xz"),
}


@pytest.mark.parametrize("name", PACKERS)
@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (CARS, CARS),
        ({f"my cars/{name}": data for name, data in CARS.items()}, CARS),
        ({"cars/cars/a.jpg": b"a"}, {"cars/a.jpg": b"a"}),
        ({"images/a.jpg": b"a"}, {"images/a.jpg": b"a"}),  # a folder that says what is in it is no wrapping
        ({"train/images/a.jpg": b"a"}, {"train/images/a.jpg": b"a"}),
        ({"cars/a.jpg": b"a", "data.yaml": b"b"}, {"cars/a.jpg": b"a", "data.yaml": b"b"}),
        (
            {"cars/a.jpg": b"a", "__MACOSX/cars/._a.jpg": b"m", "cars/.DS_Store": b"d", "cars/._a.jpg": b"m"},
            {"a.jpg": b"a"},
        ),
        ({"cars/empty.txt": b"", "cars/車両/ä.jpg": b"a"}, {"empty.txt": b"", "車両/ä.jpg": b"a"}),
        ({"cars\\images\\a.jpg": b"a", "cars\\b.jpg": b"b"}, {"images/a.jpg": b"a", "b.jpg": b"b"}),
        ({"./cars/a.jpg": b"a"}, {"a.jpg": b"a"}),
        ({"only.jpg": b"a"}, {"only.jpg": b"a"}),
    ],
)
def test_what_is_packed_is_unpacked(tmp_path: Path, name: str, files: Files, expected: Files) -> None:
    assert unpacked(PACKERS[name](tmp_path / name, files)) == expected


def test_folders_and_zip64_entries(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "c.zip", "w") as archive:
        archive.mkdir("cars")
        with archive.open("cars/a.jpg", "w", force_zip64=True) as entry:
            entry.write(b"a")
    assert unpacked(tmp_path / "c.zip") == {"a.jpg": b"a"}


def raw_name(path: Path, raw: bytes, extra: bytes = b"") -> Path:
    """A .zip with one entry, whose name has no flag that says UTF-8."""
    placeholder = "x" * len(raw)
    with zipfile.ZipFile(path, "w") as archive:
        info = zipfile.ZipInfo(placeholder)
        info.extra = extra
        archive.writestr(info, b"a")
    path.write_bytes(path.read_bytes().replace(placeholder.encode(), raw))
    return path


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("ü.jpg".encode("cp437"), "ü.jpg"),
        ("ü.jpg".encode(), "ü.jpg"),
        ("車両.jpg".encode(), "車両.jpg"),
        (b"plain.jpg", "plain.jpg"),
    ],
)
def test_names_without_the_flag_of_utf8(tmp_path: Path, raw: bytes, expected: str) -> None:
    assert unpacked(raw_name(tmp_path / "c.zip", raw)) == {expected: b"a"}


def test_the_extra_field_of_info_zip_names_the_entry(tmp_path: Path) -> None:
    raw, name = b"_.jpg", "車.jpg".encode()
    content = struct.pack("<BI", 1, zlib.crc32(raw)) + name
    extra = struct.pack("<HH", 0x7075, len(content)) + content
    assert unpacked(raw_name(tmp_path / "c.zip", raw, extra)) == {"車.jpg": b"a"}


def encrypted(path: Path) -> Path:
    data = bytearray(zipped(path, {"a.jpg": b"a"}).read_bytes())
    data[6] |= 1  # the flags in the entry's own header, and in the directory
    data[data.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(data)
    return path


def with_link(path: Path) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        info = zipfile.ZipInfo("images/a.jpg")
        info.external_attr = 0o120777 << 16
        archive.writestr(info, "/etc/passwd")
    return path


def tape_of(kind: bytes) -> Callable[[Path], Path]:
    def make(path: Path) -> Path:
        with tarfile.open(path, "w") as archive:
            info = tarfile.TarInfo("images/a.jpg")
            info.type, info.linkname = kind, "/etc/passwd"
            archive.addfile(info)
        return path

    return make


def damaged(path: Path) -> Path:
    data = bytearray(zipped(path, {"a.jpg": bytes(range(256)) * 40}, zipfile.ZIP_STORED).read_bytes())
    data[200] ^= 1
    path.write_bytes(data)
    return path


def name_that_is_no_utf8(path: Path) -> Path:
    path.write_bytes(zipped(path, {"ü.jpg": b"a"}).read_bytes().replace("ü".encode(), b"\xff\xff"))
    return path


def cut(path: Path) -> Path:
    path.write_bytes(taped(path, {f"{i}.jpg": bytes([i]) * 5000 for i in range(9)}, "w").read_bytes()[:9000])
    return path


def larger_than_it_says(path: Path) -> Path:
    data = zipped(path, {"a.jpg": b"a" * 100}, zipfile.ZIP_STORED).read_bytes()
    path.write_bytes(data.replace(struct.pack("<II", 100, 100), struct.pack("<II", 100, 50)))
    return path


def twice(path: Path) -> Path:
    path.write_bytes(zipped(path, {"a.jpg": b"a", "b.jpg": b"b"}).read_bytes().replace(b"b.jpg", b"a.jpg"))
    return path


REFUSED: dict[str, tuple[Callable[[Path], Path], str]] = {
    "encrypted.zip": (encrypted, "a.jpg is encrypted. Unpack it yourself"),
    "link.zip": (with_link, "'images/a.jpg' is a link or a device"),
    "link.tar": (tape_of(tarfile.SYMTYPE), "'images/a.jpg' is a link or a device"),
    "hard.tar": (tape_of(tarfile.LNKTYPE), "is a link or a device"),
    "device.tar": (tape_of(tarfile.CHRTYPE), "is a link or a device"),
    "up.zip": (lambda p: zipped(p, {"ok.jpg": b"a", "../a.jpg": b"a"}), r"'\.\./a\.jpg' cannot be unpacked"),
    "up.tar": (lambda p: taped(p, {"cars/../../a.jpg": b"a"}, "w"), "cannot be unpacked under its name"),
    "root.zip": (lambda p: zipped(p, {"/etc/a.jpg": b"a"}), "cannot be unpacked under its name"),
    "backslash.zip": (lambda p: zipped(p, {"..\\a.jpg": b"a"}), "cannot be unpacked under its name"),
    "drive.zip": (lambda p: zipped(p, {"C:\\a.jpg": b"a"}), "a path of another machine"),
    "control.zip": (lambda p: zipped(p, {"a\n.jpg": b"a"}), "a control character"),
    "long.zip": (lambda p: zipped(p, {"x" * 300 + ".jpg": b"a"}), "File name too long"),
    "twice.zip": (twice, "'a.jpg' is in it twice"),
    "file and folder.zip": (lambda p: zipped(p, {"a": b"a", "a/b.jpg": b"b"}), "'a' is a file and a folder in it"),
    "damaged.zip": (damaged, "it is damaged"),
    "name.zip": (name_that_is_no_utf8, "it is damaged"),
    "cut.tar": (cut, "it is damaged"),
    "larger.zip": (larger_than_it_says, "it is damaged|ends early"),
    "empty.zip": (lambda p: zipped(p, {}), "it holds no file"),
    "junk.zip": (lambda p: (p.write_bytes(b"PK\x03\x04 no"), p)[1], "neither a .zip nor a .tar"),
    "nothing.zip": (lambda p: (p.write_bytes(b""), p)[1], "neither a .zip nor a .tar"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused_leaves_nothing(tmp_path: Path, name: str) -> None:
    make, message = REFUSED[name]
    with pytest.raises(ArchiveRefused, match=message) as error:
        unpack(make(tmp_path / name), tmp_path / "out")
    assert name in str(error.value)
    assert [p.name for p in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("pack", [zipped, taped], ids=["zip", "tar.gz"])
@pytest.mark.parametrize(
    ("limit", "value", "message"),
    [
        ("MOST_FILES", 2, "more than 2 files"),
        ("MOST_RATIO", 3, "over 3 times its"),
        ("FREE_SHARE", 1e-12, "may be filled"),
    ],
)
def test_there_is_a_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pack: Any, limit: str, value: float, message: str
) -> None:
    monkeypatch.setattr(archives, "SMALL_BYTES", 1000 if limit == "MOST_RATIO" else 10**9)
    monkeypatch.setattr(archives, limit, value)
    archive = pack(tmp_path / "bomb", {f"{i}.jpg": bytes(50_000) for i in range(4)})
    with pytest.raises(ArchiveRefused, match=message):
        unpack(archive, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_bomb_is_refused_before_it_goes_off(tmp_path: Path) -> None:
    """100 GB of zeros, as the directory says; entries share their bytes, as in a bomb without recursion."""
    archive = zipped(tmp_path / "bomb.zip", {"a.txt": bytes(2**20)})
    data = archive.read_bytes()
    archive.write_bytes(data.replace(struct.pack("<I", 2**20), struct.pack("<I", 2**32 - 2)))
    with pytest.raises(ArchiveRefused, match="times its size"):
        unpack(archive, tmp_path / "out")


@pytest.mark.parametrize(
    ("name", "is_one", "stem"),
    [
        ("cars.zip", True, "cars"), ("my.cars.TAR.GZ", True, "my.cars"), ("a.tgz", True, "a"),
        ("b.zip.1", False, "b.zip.1"),
        ("a.7z", False, "a.7z"), ("zip", False, "zip"),
    ],
)  # fmt: skip
def test_names_of_archives(name: str, is_one: bool, stem: str) -> None:
    assert (is_archive(name), stem_of(name)) == (is_one, stem)
