"""Stores bytes by key, in a folder or in an S3 bucket, behind one interface.

The folder is read and written by the operating system's own calls and not by obstore's LocalStore: that one does not
fsync, refuses names such as `a#1`, and its listing aborts on a loop of links.
"""

from __future__ import annotations

import errno
import logging
import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Protocol

from carsdepo_assets.redaction import redact

logger = logging.getLogger(__name__)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
TEMPORARY_PREFIX = ".put-"
TEMPORARY_SUFFIX = ".tmp"


class LakeError(Exception):
    """The lake cannot do what was asked; the message names the key or table and what to do about it.

    The message may quote a storage library's error, and with it a URL; secrets of the environment are removed from it.
    """

    def __init__(self, message: str) -> None:
        super().__init__(redact(message))


class ObjectMissing(LakeError, KeyError):
    """There is no object under this key."""

    def __str__(self) -> str:  # KeyError would show the repr of the message
        return str(self.args[0])


@dataclass(frozen=True)
class ObjectInfo:
    """One stored object, as a listing gives it."""

    key: str
    """path below the lake's root"""
    size: int
    """in bytes"""
    modified_at: datetime
    """in UTC, to the microsecond; on S3 to the second"""
    etag: str | None = None
    """S3's ETag, which tells other bytes of the same second apart; None in a folder"""


class Objects(Protocol):
    """What a folder and a bucket have in common; `Lake` describes the methods."""

    root: Path | None
    """the folder; None on S3"""
    cache_folder: Path
    """a folder of this machine for what can be made again from the lake"""

    def put(self, key: str, data: bytes) -> None:
        """Stores an object, atomically and durably."""

    def get(self, key: str) -> bytes:
        """Returns an object's bytes. Raises ObjectMissing."""

    def exists(self, key: str) -> bool:
        """Whether there is an object of this key."""

    def info(self, key: str) -> ObjectInfo | None:
        """What a listing says of one object; None when there is none of this key."""

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """Lists the objects below a folder, in order of key."""

    def delete(self, key: str) -> None:
        """Removes an object; nothing happens when there is none."""

    def local_path(self, key: str) -> Path:
        """Returns a file that holds the object's bytes, to be read only. Raises ObjectMissing."""

    def download(self, key: str, path: Path) -> None:
        """Writes an object's bytes to a new file, in pieces. Raises ObjectMissing."""


def key_problem(key: str) -> str | None:
    """Returns why a string cannot be a key, be it in a folder or on S3; None when it can."""
    if not key:
        return "it is empty"
    odd = "//" in key or "./" in key or key[0] == "/" or key[-1] in "/."
    if odd and any(part in ("", ".", "..") for part in key.split("/")):
        return "it has an empty, '.' or '..' part"
    if key.isascii() and key.isprintable():  # nearly every key, and a tenth of the time
        return "it is longer than 1024 bytes" if len(key) > 1024 else None
    if any(ord(c) < 32 or ord(c) == 127 for c in key):
        return "it has a control character"
    try:
        size = len(key.encode())
    except UnicodeEncodeError:
        return "its name is not UTF-8"
    return "it is longer than 1024 bytes" if size > 1024 else None  # S3's limit


def check_key(key: str) -> str:
    """Returns the key. Raises LakeError where it cannot be one."""
    problem = key_problem(key)
    if problem:
        raise LakeError(f"{key!r} cannot be a key: {problem}. Keys are relative paths such as raw/uploads/a.jpg.")
    return key


def write_atomic(path: Path, data: bytes) -> None:
    """Writes a file so that readers see the old bytes or the new ones, never a part of them, even after a crash.

    When this returns, the bytes, the file's name and the names of folders that had to be created are on the disk.

    Args:
        path: the file; missing folders above it are created.
        data: its new content.

    Raises:
        OSError: it cannot be written.
    """
    _make_durable_folder(path.parent)
    temporary = path.parent / f"{TEMPORARY_PREFIX}{secrets.token_hex(8)}{TEMPORARY_SUFFIX}"
    try:
        with open(temporary, "xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    fsync_path(path.parent)


def fsync_path(path: Path) -> None:
    """Forces the bytes of a file, or the names in a folder, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _make_durable_folder(folder: Path) -> None:
    if folder.is_dir():
        return
    _make_durable_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    fsync_path(folder.parent)


def walk_folder(root: Path, prefix: str) -> Iterator[tuple[str, os.stat_result]]:
    """Lists the regular files below a folder, at any depth, in order of key. Links are not followed.

    Files that vanish during the walk are left out, and so is a name that cannot be a key, with a warning in the log.

    Args:
        root: the lake's folder.
        prefix: a folder in it, or ""; there may be none of that name.

    Yields:
        The key and the operating system's facts (size, time) of each file.

    Raises:
        LakeError: a folder may not be read.
    """
    pending = [prefix.strip("/")]
    while pending:
        key = pending.pop()
        path = os.path.join(root, key) if key else str(root)
        try:
            facts = os.lstat(path)
            if stat.S_ISREG(facts.st_mode):
                yield key, facts
                continue
            if not stat.S_ISDIR(facts.st_mode):
                continue
            with os.scandir(path) as entries:
                names = [(e.name, e.is_dir(follow_symlinks=False)) for e in entries if not e.is_symlink()]
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            if error.errno == errno.ENAMETOOLONG:
                logger.warning("left out, its path is too long: %s...", path[:200])
                continue
            raise LakeError(f"{path!r} cannot be read: {error.strerror}. Check its permissions.") from error
        # Sorting folders as "name/" gives the order of whole keys, which is S3's order too.
        for name, _ in sorted(names, key=lambda n: n[0] + "/" if n[1] else n[0], reverse=True):
            child = f"{key}/{name}" if key else name
            problem = key_problem(child)
            if problem is None:
                pending.append(child)
            elif name not in (".", ".."):
                logger.warning("left out: %r cannot be a key: %s. Rename it.", child, problem)


def micros(at: datetime) -> int:
    """A time as whole microseconds since 1970."""
    return (at - _EPOCH) // timedelta(microseconds=1)


def time_of(microseconds: int) -> datetime:
    """The time of whole microseconds since 1970."""
    return _EPOCH + timedelta(microseconds=microseconds)


def object_info(key: str, facts: os.stat_result) -> ObjectInfo:
    """Returns the entry of a listing for a file of this key."""
    # Whole microseconds: a float of seconds would not survive the way to a table and back.
    return ObjectInfo(key, facts.st_size, time_of(facts.st_mtime_ns // 1000))


def is_temporary(key: str) -> bool:
    """Whether a key is that of a temporary file, which a put that is still running or was killed left."""
    name = key.rsplit("/", 1)[-1]
    return name.startswith(TEMPORARY_PREFIX) and name.endswith(TEMPORARY_SUFFIX)


# What reading says where there is no such file; a name too long for the file system names none either.
_NO_FILE = frozenset((errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG))


class FolderObjects:
    """Objects stored as files below a folder."""

    def __init__(self, root: Path) -> None:
        self.root: Path | None = root
        self._root = root
        self.cache_folder = root / ".cache"

    def put(self, key: str, data: bytes) -> None:
        try:
            write_atomic(self._root / check_key(key), data)
        except OSError as error:
            raise LakeError(f"{key}: cannot be written under {self._root}: {error.strerror}.") from error

    def get(self, key: str) -> bytes:
        try:
            return (self._root / check_key(key)).read_bytes()
        except OSError as error:
            if error.errno in _NO_FILE:
                raise ObjectMissing(f"{key}: no such object in {self._root}.") from error
            raise LakeError(f"{key}: cannot be read under {self._root}: {error.strerror}.") from error

    def exists(self, key: str) -> bool:
        return _is_file(self._root / check_key(key))

    def info(self, key: str) -> ObjectInfo | None:
        try:
            facts = os.lstat(self._root / check_key(key))
        except OSError as error:
            if error.errno in _NO_FILE:
                return None
            raise LakeError(f"{key}: cannot be read under {self._root}: {error.strerror}.") from error
        return object_info(key, facts) if stat.S_ISREG(facts.st_mode) else None

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        for key, facts in walk_folder(self._root, prefix):
            if not is_temporary(key):
                yield object_info(key, facts)

    def delete(self, key: str) -> None:
        path = self._root / check_key(key)
        try:
            path.unlink()
        except (FileNotFoundError, NotADirectoryError):
            return
        except OSError as error:
            raise LakeError(f"{key}: cannot be deleted under {self._root}: {error.strerror}.") from error
        fsync_path(path.parent)

    def local_path(self, key: str) -> Path:
        path = self._root / check_key(key)
        if not _is_file(path):
            raise ObjectMissing(f"{key}: no such object in {self._root}.")
        return path

    def download(self, key: str, path: Path) -> None:
        shutil.copyfile(self.local_path(key), path)


def _is_file(path: Path) -> bool:
    """Whether there is such a file. For a name too long for the file system pathlib raises an error."""
    try:
        return path.is_file()
    except OSError as error:
        if error.errno in _NO_FILE:
            return False
        raise
