"""Where an import comes from: a folder, an archive, or a prefix of S3, each given as a folder of this machine.

What is unpacked or downloaded lies below the home while it is imported, and is removed afterwards. A download that was
broken off goes on where it was: objects that are there with their size and ETag are not asked for again. One that
nobody goes on with is removed by an import of something else, a week later.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path, PurePosixPath

from carsdepo_assets.data.imports.archives import FREE_SHARE, SUFFIXES, is_archive, stem_of, unpack
from carsdepo_assets.lake.lake import Lake, ObjectInfo
from carsdepo_assets.lake.objects import key_problem
from carsdepo_assets.lake.sources import wanted

Progress = Callable[[int, int], None]
_READERS = 8  # threads that wait for S3
_S3 = "s3://"
_JOURNAL = "downloaded.jsonl"
_PLACE = re.compile("[0-9a-f]{16}")
_KEPT = timedelta(days=7)


class SourceRefused(ValueError):
    """There is nothing to import at a place, or it cannot be used. The message says what to do."""


@contextmanager
def folder_of(source: str, work: Path, progress: Progress | None = None) -> Iterator[Path]:
    """Gives a folder with the files of a source; its name is the source's, as an import is named by it.

    Args:
        source: a folder; a .zip or .tar archive; s3://bucket/prefix, or such an archive on S3.
        work: where archives are unpacked and objects are downloaded to. Made where it is missing.
        progress: called with the number of objects downloaded and of all that are to be.

    Raises:
        SourceRefused: there is nothing, or not enough room.
        ArchiveRefused: an archive cannot be unpacked.
        LakeError: S3 refused.
    """
    if source.startswith(_S3):
        with _downloaded(source, work, progress) as folder:
            yield folder
        return
    if "://" in source:
        raise SourceRefused(
            f"{source} cannot be imported: give a folder, a .zip or .tar archive, or s3://bucket/prefix."
        )
    path = Path(source).expanduser()
    if path.is_dir():
        yield path
    elif path.is_file():
        with _unpacked(path, work) as folder:
            yield folder
    else:
        raise SourceRefused(f"{path} is not there: give a folder, a .zip or .tar archive, or s3://bucket/prefix.")


@dataclass(frozen=True)
class LeftOver:
    """What an import that was broken off has left below the home."""

    place: Path
    size: int
    """Bytes."""
    at: datetime
    """When something was last added to it, in UTC."""


def left_over(work: Path) -> list[LeftOver]:
    """What is left of imports that were broken off, or under way; the oldest first.

    Args:
        work: as `folder_of` was given it.
    """
    places = []
    for place in work.iterdir() if work.is_dir() else ():
        if not (place.is_dir() and _PLACE.fullmatch(place.name)):
            continue
        size, newest = 0, 0.0
        for path in (place, *place.rglob("*")):
            with suppress(OSError):  # removed by its import meanwhile
                facts = path.lstat()
                size += facts.st_size if path.is_file() else 0
                # Unpacked files bring the times of their archive: of them the folders' times count.
                if path.is_dir() or path.name == _JOURNAL:
                    newest = max(newest, facts.st_mtime)
        places.append(LeftOver(place, size, datetime.fromtimestamp(newest, UTC)))
    return sorted(places, key=lambda one: one.at)


def remove_left_over(source: str, work: Path, now: datetime) -> str:
    """Removes what imports of other sources left more than a week ago.

    Args:
        source: what is to be imported now, as `folder_of` takes it; what is left of it is kept.
        work: as `folder_of` is given it.
        now: the present, with a time zone.

    Returns:
        What was removed, in one line for a person; empty where nothing was.
    """
    own = _place(work, source.rstrip("/"))
    old = [one for one in left_over(work) if one.place != own and now - one.at > _KEPT]
    for one in old:
        shutil.rmtree(one.place, ignore_errors=True)
    if not old:
        return ""
    size = sum(one.size for one in old)
    what = "an import that was" if len(old) == 1 else f"{len(old)} imports that were"
    return f"removed {size:,} bytes that {what} broken off over {_KEPT.days} days ago had left in {work}"


@contextmanager
def _unpacked(archive: Path, work: Path) -> Iterator[Path]:
    """The files of an archive. What a killed import has left of the same archive is removed first."""
    if not is_archive(archive.name) and archive.suffix.lower() in (".7z", ".rar", ".gz", ".bz2", ".xz", ".zst"):
        raise SourceRefused(f"{archive}: {archive.suffix} is not read here. Unpack it and import the folder.")
    place = _place(work, f"archive {archive.resolve()}")
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    try:
        # A single file in a folder of its own, as names of classes are looked for in the folder above, too.
        folder = place / (stem_of(archive.name) or "archive")
        unpack(archive, folder)
        yield folder
    finally:
        shutil.rmtree(place, ignore_errors=True)


@contextmanager
def _downloaded(url: str, work: Path, progress: Progress | None) -> Iterator[Path]:
    """The objects below a prefix. They stay for the next call where the block is left by an error, as by Ctrl-C."""
    bucket, _, prefix = url.removeprefix(_S3).strip("/").partition("/")
    if not bucket:
        raise SourceRefused(f"{url} names no bucket: write s3://bucket/prefix.")
    store = Lake.open(f"{_S3}{bucket}")
    place = _place(work, url.rstrip("/"))
    name = PurePosixPath(prefix or bucket).name
    objects = _objects(store, prefix)
    if not objects and prefix and is_archive(name) and store.exists(prefix):
        parent = str(PurePosixPath(prefix).parent)
        alone = [o for o in store.list("" if parent == "." else parent) if o.key == prefix]
        _download(store, place, {name: alone[0]}, progress)
        with _unpacked(place / "files" / name, work) as folder:
            yield folder
    elif objects:
        _download(store, place, {f"{name}/{path}": o for path, o in objects.items()}, progress)
        yield place / "files" / name
    else:
        raise SourceRefused(f"{url}: there is nothing below it. Archives on S3 end in {', '.join(SUFFIXES[:3])} or so.")
    shutil.rmtree(place, ignore_errors=True)


def _objects(store: Lake, prefix: str) -> dict[str, ObjectInfo]:
    """The objects below a prefix by their path there. Consoles make objects for folders, whose keys end in a slash."""
    objects: dict[str, ObjectInfo] = {}
    for entry in store.list(prefix):
        path = entry.key.removeprefix(f"{prefix}/")
        if not wanted(path) or path.endswith("/"):
            continue
        if problem := key_problem(path):
            raise SourceRefused(f"{store.url}/{entry.key} cannot be kept under its name: {problem}. Rename it.")
        objects[path] = entry
    return objects


def _download(store: Lake, place: Path, objects: dict[str, ObjectInfo], progress: Progress | None) -> None:
    """Has each object as a file below place/files, those that an earlier call has brought excepted."""
    place.mkdir(parents=True, exist_ok=True)
    journal = place / _JOURNAL
    brought = _brought(journal)
    missing = {
        path: o
        for path, o in objects.items()
        if brought.get(path) != _state(o) or not _has_size(place / "files" / path, o.size)
    }
    needed, room = sum(o.size for o in missing.values()), int(FREE_SHARE * shutil.disk_usage(place).free)
    if needed > room:
        raise SourceRefused(
            f"{store.url}: {needed:,} bytes are to be downloaded, and {room:,} may be filled on the disk of the home. "
            "Make room, or import it in parts."
        )
    for path in missing:
        (place / "files" / path).parent.mkdir(parents=True, exist_ok=True)
    with journal.open("a", encoding="utf-8") as lines, ThreadPoolExecutor(_READERS, "download") as pool:
        try:
            running = [(path, o, pool.submit(_bring, store, o, place / "files" / path)) for path, o in missing.items()]
            for number, (path, o, brings) in enumerate(running, 1):
                brings.result()
                lines.write(json.dumps([path, _state(o)]) + "\n")
                lines.flush()
                if progress is not None:
                    progress(number, len(missing))
        except BaseException:  # the pool's end waits for what is not begun, too
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _bring(store: Lake, entry: ObjectInfo, path: Path) -> None:
    part = path.with_name(f".{uuid.uuid4().hex}.part")
    try:
        store.download(entry.key, part)
        if not _has_size(part, entry.size):
            raise SourceRefused(f"{store.url}/{entry.key}: it changed while it was downloaded. Import it again.")
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _brought(journal: Path) -> dict[str, str]:
    """By path: the state of the object that was brought. A line that a kill cut off says nothing."""
    brought: dict[str, str] = {}
    if journal.exists():
        for line in journal.read_text("utf-8", "replace").splitlines():
            try:
                path, state = json.loads(line)
            except ValueError:
                continue
            brought[path] = state
    return brought


def _state(entry: ObjectInfo) -> str:
    return f"{entry.size} {entry.etag or entry.modified_at.isoformat()}"


def _has_size(path: Path, size: int) -> bool:
    return path.is_file() and path.stat().st_size == size


def _place(work: Path, source: str) -> Path:
    return work / hashlib.sha256(source.encode("utf-8", "surrogateescape")).hexdigest()[:16]
