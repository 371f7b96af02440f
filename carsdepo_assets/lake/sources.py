"""Sources of new files: a source delivers the objects below a prefix of the lake that are fresh, and nothing else.

What a source delivered it delivers again until it is acknowledged: whoever takes its objects first makes durable what
became of them, and then acknowledges. A kill in between repeats a delivery and loses none.
"""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import os
import stat
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Protocol

from carsdepo_assets.lake.lake import Lake, LakeError
from carsdepo_assets.lake.objects import ObjectInfo, key_problem, micros, time_of

logger = logging.getLogger(__name__)

_UNFINISHED = (".part", ".tmp")
# A folder that was changed within this time of the look at it may change again without getting another time.
_GRANULARITY_NS = 2 * 10**9
Facts = tuple[str, int, int, str | None]
"""Key, size, time in microseconds since 1970, and ETag of an object."""

_HOT = [0, 0]  # of a folder that is looked into next time, whatever its time


class Memory(Protocol):
    """What a source asks about earlier deliveries; lake.object_index.ObjectIndex is one."""

    def unknown(self, objects: Sequence[Facts]) -> list[Facts]:
        """Those of some objects that differ from what is known of their keys."""

    def compare(
        self, prefix: str, objects: Sequence[Facts], before: int | None = None
    ) -> tuple[list[Facts], list[str]]:
        """The same of all objects below a prefix, in order of key; and the known keys that are not among them, but for
        those whose object is no older than `before` (microseconds since 1970), the time of the listing."""

    def standing(self, keys: Sequence[str]) -> list[str]:
        """Those of some keys that are known, and not known to be gone."""

    def place(self, name: str) -> str | None:
        """The cursor that was kept for a prefix."""

    def keep_place(self, name: str, value: str) -> None:
        """Keeps the cursor of a prefix."""


class Source(Protocol):
    """A place that is asked for its new objects again and again."""

    def poll(self, cursor: str | None) -> tuple[list[ObjectInfo], str]:
        """Delivers what is fresh.

        Args:
            cursor: where to go on: what another call returned. None: from what was acknowledged last.

        Returns:
            The objects that differ from what is known of their keys, in no particular order, and the cursor to
            acknowledge. A source may miss a change, but never for longer than until the next `reconcile`.
        """

    def gone(self, cursor: str) -> list[str]:
        """Known keys that have no object any more, as the calls up to this cursor came across them. Most sources leave
        all of them to `reconcile`."""

    def ack(self, cursor: str) -> None:
        """Says that what became of all objects up to this cursor is durable: they are not delivered again."""

    def reconcile(self) -> tuple[list[ObjectInfo], list[str], str]:
        """Looks at everything: the objects that differ, those `poll` missed too; known keys without an object; the
        cursor to acknowledge."""


def wanted_name(name: str) -> bool:
    """Whether a file of this name is to be ingested: neither hidden nor named as an unfinished upload."""
    return not name.startswith(".") and not name.lower().endswith(_UNFINISHED)


def wanted(key: str) -> bool:
    """Whether a key is to be ingested: not a hidden file, nor in a hidden folder, nor named as an unfinished upload."""
    folder, _, name = key.rpartition("/")
    return wanted_name(name) and not any(part.startswith(".") for part in folder.split("/"))


def listing(lake: Lake, prefix: str) -> list[ObjectInfo]:
    """All objects below a prefix that are to be ingested, in order of key."""
    folder = prefix.strip("/")
    skip = len(folder) + 1 if folder else 0
    return [o for o in lake.list(folder) if wanted(o.key[skip:])]


class FolderSource:
    """A folder of a lake that is a folder. Links are not followed.

    A folder's own time changes when a file is added to it, removed or replaced by another, so only folders with another
    time than before are looked into; what it costs to find nothing is a look at the time of each folder. A file that is
    rewritten in place changes no folder's time: it is found as long as the folder is hot, which it is while one of its
    files is younger than `settle_s`, and by `reconcile`.

    Args:
        lake: the lake.
        prefix: the folder.
        memory: what is known of its files.
        settle_s: a file that was written so many seconds ago may still be being written.
        accept: whether a file of a name may be delivered; of others nothing is looked at but the name.
    """

    def __init__(
        self,
        lake: Lake,
        prefix: str,
        memory: Memory,
        settle_s: float = 60.0,
        accept: Callable[[str], bool] = wanted_name,
    ) -> None:
        if lake.root is None:
            raise ValueError(f"{lake.url} is not a folder: use S3ListingSource.")
        self._lake, self._prefix, self._memory, self._settle_s = lake, prefix.strip("/"), memory, settle_s
        self._root, self._accept = str(lake.root), accept

    def poll(self, cursor: str | None) -> tuple[list[ObjectInfo], str]:
        folders = _folders(self._memory.place(self._prefix) if cursor is None else cursor)
        objects = self._look(folders, [self._prefix, *(folder for folder in folders if folder != self._prefix)])
        return infos_of(self._memory.unknown(objects)), json.dumps(folders)

    def gone(self, cursor: str) -> list[str]:
        return []

    def ack(self, cursor: str) -> None:
        self._memory.keep_place(self._prefix, cursor)

    def reconcile(self) -> tuple[list[ObjectInfo], list[str], str]:
        folders: dict[str, list[int]] = {}
        unknown, gone = self._memory.compare(self._prefix, sorted(self._look(folders, [self._prefix])))
        return infos_of(unknown), gone, json.dumps(folders)

    def _look(self, folders: dict[str, list[int]], pending: list[str]) -> list[Facts]:
        """The files of those folders whose time is another than in `folders`, which gets the present times."""
        objects: list[Facts] = []
        now = time.time_ns()
        settle = round(self._settle_s * 1e6)
        while pending:
            folder = pending.pop()
            path = f"{self._root}/{folder}"
            try:
                facts = os.lstat(path)
                present = [facts.st_mtime_ns, facts.st_ino]
                if folders.get(folder) == present:
                    continue
                if not stat.S_ISDIR(facts.st_mode):
                    raise NotADirectoryError
                files, below = _entries(path, folder, self._accept)
            except (FileNotFoundError, NotADirectoryError):
                folders.pop(folder, None)
                continue
            except OSError as error:
                if error.errno == errno.ENAMETOOLONG:
                    logger.warning("left out, its path is too long: %s...", path[:200])
                    continue
                raise LakeError(f"{path!r} cannot be read: {error.strerror}. Check its permissions.") from error
            objects += files
            pending += [child for child in below if child not in folders]
            hot = abs(now - facts.st_mtime_ns) < _GRANULARITY_NS or any(
                abs(now // 1000 - file[2]) < settle for file in files
            )
            folders[folder] = _HOT if hot else present
        return objects


class S3ListingSource:
    """A prefix of a lake on S3. A key that ends in "/", as a console creates for a "folder", is no object.

    Every call lists everything. Asking only for keys after the last one would lose what is added before it.

    Args:
        lake: the lake.
        prefix: the prefix.
        memory: what is known of its objects.
    """

    def __init__(self, lake: Lake, prefix: str, memory: Memory) -> None:
        if lake.root is not None:
            raise ValueError(f"{lake.url} is a folder: use FolderSource.")
        self._lake, self._prefix, self._memory = lake, prefix.strip("/"), memory

    def poll(self, cursor: str | None) -> tuple[list[ObjectInfo], str]:
        objects = listing(self._lake, self._prefix)
        digest, before = _digest(objects), self._memory.place(self._prefix) if cursor is None else cursor
        return [] if digest == before else infos_of(self._memory.unknown(facts_of(objects))), digest

    def gone(self, cursor: str) -> list[str]:
        return []

    def ack(self, cursor: str) -> None:
        self._memory.keep_place(self._prefix, cursor)

    def reconcile(self) -> tuple[list[ObjectInfo], list[str], str]:
        objects = listing(self._lake, self._prefix)
        unknown, gone = self._memory.compare(self._prefix, sorted(facts_of(objects)))
        return infos_of(unknown), gone, _digest(objects)


def _digest(objects: Iterable[ObjectInfo]) -> str:
    digest = hashlib.sha256()
    for o in objects:
        digest.update(f"{o.key}\0{o.size}\0{o.modified_at.isoformat()}\0{o.etag}\n".encode())
    return digest.hexdigest()


def _folders(cursor: str | None) -> dict[str, list[int]]:
    """Time and inode by folder; none for a cursor of another form, which has everything looked at."""
    try:
        folders = json.loads(cursor or "{}")
    except ValueError:
        return {}
    return folders if isinstance(folders, dict) else {}


def facts_of(objects: Iterable[ObjectInfo]) -> list[Facts]:
    """Objects as plain tuples, of which a million cost a fifth."""
    return [(o.key, o.size, micros(o.modified_at), o.etag) for o in objects]


def infos_of(facts: Iterable[Facts]) -> list[ObjectInfo]:
    """The same as ObjectInfo."""
    return [ObjectInfo(key, size, time_of(modified_at), etag) for key, size, modified_at, etag in facts]


def _entries(path: str, folder: str, accept: Callable[[str], bool]) -> tuple[list[Facts], list[str]]:
    """The files to be ingested and the folders of a folder; warns about names that cannot be keys."""
    files: list[Facts] = []
    below: list[str] = []
    with os.scandir(path) as entries:
        for entry in entries:
            name = entry.name
            is_folder = entry.is_dir(follow_symlinks=False)
            if name.startswith(".") or not (is_folder or (accept(name) and entry.is_file(follow_symlinks=False))):
                continue
            key = f"{folder}/{name}" if folder else name
            problem = key_problem(key)
            if problem is not None:
                logger.warning("left out: %r cannot be a key: %s. Rename it.", key, problem)
            elif is_folder:
                below.append(key)
            else:
                with suppress(FileNotFoundError):
                    facts = entry.stat(follow_symlinks=False)
                    files.append((key, facts.st_size, facts.st_mtime_ns // 1000, None))
    return files, below
