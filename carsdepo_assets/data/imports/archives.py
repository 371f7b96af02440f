"""Unpacks a .zip or .tar archive of photographs and labels into a folder: whole, or not at all.

An archive comes from anyone. No name leads out of the folder, nothing but plain files is made, and their number and
size are limited, by what the archive says of itself before the first byte is written and by what is written.
"""

from __future__ import annotations

import lzma
import shutil
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO

from carsdepo_assets.lake.objects import key_problem

SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
MOST_FILES = 2_000_000
MOST_RATIO = 200  # bytes unpacked for one of the archive; label files alone come to about 20
SMALL_BYTES = 256 * 2**20  # an archive may unpack to this much whatever its ratio
FREE_SHARE = 0.9  # of the free bytes of the disk, which an archive may fill
_PIECE = 2**20
_UTF8_FLAG, _ENCRYPTED_FLAG = 0x800, 0x1
_UNICODE_PATH = 0x7075  # Info-ZIP's extra field with a name in UTF-8
# What the standard library raises of archives that are damaged, or packed by a method that it does not have.
_DAMAGED = (
    zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, struct.error, RuntimeError, ValueError,
    OverflowError,
)  # fmt: skip
# Folders that programs name for what is in them: one that stands alone is no mere wrapping around the rest.
_MEANT = {
    "images", "image", "img", "imgs", "photos", "photographs", "labels", "label", "annotations", "train", "training",
    "val", "valid", "validation", "test", "testing", "jpegimages", "obj_train_data", "obj_valid_data", "obj_test_data",
}  # fmt: skip
_NOT_CONTENT = {".ds_store", "thumbs.db", "desktop.ini"}  # what desktops leave in every folder


class ArchiveRefused(ValueError):
    """An archive cannot be unpacked, and nothing of it is left. The message names the entry and says what to do."""


@dataclass(frozen=True)
class _Entry:
    name: str  # as the archive has it
    size: int  # bytes, as the archive says
    open: Callable[[], IO[bytes] | None]


class _Amount:
    """How much an archive unpacks to, entry by entry."""

    def __init__(self, archive: Path, folder: Path) -> None:
        self._archive = archive
        self._packed = archive.stat().st_size
        self._room = int(FREE_SHARE * shutil.disk_usage(folder.parent).free)
        self._files = self._bytes = 0

    def add(self, size: int) -> None:
        """Counts an entry. Raises ArchiveRefused where it is too much."""
        self._files, self._bytes = self._files + 1, self._bytes + size
        if self._files > MOST_FILES:
            raise ArchiveRefused(f"{self._archive}: it has more than {MOST_FILES:,} files. Import it in parts.")
        if self._bytes > max(SMALL_BYTES, MOST_RATIO * self._packed):
            raise ArchiveRefused(
                f"{self._archive}: it would unpack to over {MOST_RATIO} times its size, as no photographs do. If it is "
                "sound, unpack it yourself and import the folder."
            )
        if self._bytes > self._room:
            raise ArchiveRefused(
                f"{self._archive}: it would unpack to {self._bytes:,} bytes and more, and {self._room:,} may be filled "
                "on the disk of the home. Make room, or import it in parts."
            )


def is_archive(name: str) -> bool:
    """Whether a file name is that of an archive that is unpacked here."""
    return name.lower().endswith(SUFFIXES)


def stem_of(name: str) -> str:
    """The name of an archive without the suffix that says that it is one."""
    suffix = next((s for s in sorted(SUFFIXES, key=len, reverse=True) if name.lower().endswith(s)), "")
    return name[: len(name) - len(suffix)]


def unpack(archive: Path, folder: Path) -> int:
    """Unpacks an archive. A single folder that holds all the rest is left out of the paths.

    Args:
        archive: the file.
        folder: to unpack into, which does not exist yet; the folder above it does.

    Returns:
        The number of files.

    Raises:
        ArchiveRefused: it is damaged, encrypted, too large, or has an entry that is no plain file below the folder.
    """
    try:
        folder.mkdir()
        with _unpackable(archive, _Amount(archive, folder)) as entries:
            placed = _placed(archive, entries)
            for path, entry in placed.items():
                _write(archive, folder / path, entry)
        return len(placed)
    except BaseException as error:
        shutil.rmtree(folder, ignore_errors=True)
        if isinstance(error, _DAMAGED) and not isinstance(error, ArchiveRefused):
            raise ArchiveRefused(f"{archive}: it is damaged, or packed in a way that is not read: {error}.") from error
        if isinstance(error, OSError):
            where = f": {error.filename}" if error.filename else ""
            raise ArchiveRefused(f"{archive} cannot be unpacked: {error.strerror or error}{where}.") from error
        raise


@contextmanager
def _unpackable(archive: Path, amount: _Amount) -> Iterator[list[_Entry]]:
    """The files in an archive, which can be opened within the block."""
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as packed:
            yield list(_zip_entries(archive, packed, amount))
    elif tarfile.is_tarfile(archive):
        with tarfile.open(archive) as tape:
            yield list(_tar_entries(archive, tape, amount))
    else:
        raise ArchiveRefused(f"{archive}: it is neither a .zip nor a .tar archive, or its end is missing.")


def _zip_entries(archive: Path, packed: zipfile.ZipFile, amount: _Amount) -> Iterator[_Entry]:
    for info in packed.infolist():
        name = _zip_name(info)
        kind = stat.S_IFMT(info.external_attr >> 16)
        if name.endswith("/") or kind == stat.S_IFDIR:
            continue
        if info.flag_bits & _ENCRYPTED_FLAG:
            raise ArchiveRefused(f"{archive}: {name} is encrypted. Unpack it yourself and import the folder.")
        if kind not in (0, stat.S_IFREG):
            raise _no_plain_file(archive, name)
        amount.add(info.file_size)
        yield _Entry(name, info.file_size, partial(packed.open, info))


def _zip_name(info: zipfile.ZipInfo) -> str:
    """The name of an entry. Without the flag that says UTF-8, zipfile takes it for cp437; many programs write UTF-8."""
    if info.flag_bits & _UTF8_FLAG:
        return info.filename
    raw, extra = info.orig_filename.encode("cp437", "replace"), info.extra
    while len(extra) >= 4:
        kind, size = struct.unpack("<HH", extra[:4])
        if kind == _UNICODE_PATH and size > 5 and struct.unpack("<I", extra[5:9])[0] == zlib.crc32(raw):
            raw = extra[9 : 4 + size]
        extra = extra[4 + size :]
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return info.filename


def _tar_entries(archive: Path, tape: tarfile.TarFile, amount: _Amount) -> Iterator[_Entry]:
    for member in tape:
        if member.isdir():
            continue
        if not member.isfile():
            raise _no_plain_file(archive, member.name)
        amount.add(member.size)
        yield _Entry(member.name, member.size, partial(tape.extractfile, member))


def _placed(archive: Path, entries: list[_Entry]) -> dict[str, _Entry]:
    """The files by their path below the folder, without what desktops add, and without a folder around all of them."""
    placed: dict[str, _Entry] = {}
    for entry in entries:
        path = entry.name.replace("\\", "/").removeprefix("./")
        parts = path.split("/")
        name = parts[-1].lower()
        if parts[0] == "__MACOSX" or name in _NOT_CONTENT or name.startswith("._"):
            continue
        if path[1:2] == ":" or (problem := key_problem(path)) is not None:
            why = "it is a path of another machine" if path[1:2] == ":" else problem
            raise ArchiveRefused(f"{archive}: {entry.name!r} cannot be unpacked under its name: {why}. Rename it.")
        if path in placed:
            raise ArchiveRefused(f"{archive}: {entry.name!r} is in it twice. Pack it anew.")
        placed[path] = entry
    both = next((str(above) for path in placed for above in PurePosixPath(path).parents if str(above) in placed), None)
    if both is not None:
        raise ArchiveRefused(f"{archive}: {both!r} is a file and a folder in it. Pack it anew.")
    if not placed:
        raise ArchiveRefused(f"{archive}: it holds no file.")
    tops = {PurePosixPath(path).parts[0] for path in placed}
    (top,) = tops if len(tops) == 1 else ("",)
    if top and top not in placed and top.lower() not in _MEANT:
        return {path[len(top) + 1 :]: entry for path, entry in placed.items()}
    return placed


def _write(archive: Path, path: Path, entry: _Entry) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    packed, written = entry.open(), 0
    assert packed is not None  # a plain file
    with packed as source, path.open("xb") as target:
        while piece := source.read(_PIECE):
            written += len(piece)
            if written > entry.size:
                raise ArchiveRefused(f"{archive}: {entry.name!r} is larger than it says: it is damaged.")
            target.write(piece)
    if written != entry.size:
        raise ArchiveRefused(f"{archive}: {entry.name!r} ends early: it is damaged.")


def _no_plain_file(archive: Path, name: str) -> ArchiveRefused:
    return ArchiveRefused(
        f"{archive}: {name!r} is a link or a device. Pack the files themselves (tar -h follows links, and so does zip)."
    )
