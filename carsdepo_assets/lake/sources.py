"""Where new objects come from. A source says what stands there; batch manifests decide what is new."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Protocol

from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.lake.objects import ObjectInfo

_UNFINISHED = (".part", ".tmp")


class Source(Protocol):
    """Objects are delivered at least once: whoever takes them compares key, size and time with what it has."""

    def poll(self, cursor: str | None) -> tuple[list[ObjectInfo], str]:
        """(objects, next cursor). No objects when nothing changed since the cursor; else all that stand there."""
        ...


def wanted(key: str) -> bool:
    """False for dotfiles, anything in a dot folder, and names that mean an unfinished upload."""
    parts = key.split("/")
    return not any(part.startswith(".") for part in parts) and not parts[-1].lower().endswith(_UNFINISHED)


def _digest(objects: Iterable[ObjectInfo]) -> str:
    digest = hashlib.sha256()
    for o in objects:
        digest.update(f"{o.key}\0{o.size}\0{o.modified_at.isoformat()}\n".encode())
    return digest.hexdigest()


class _Listing:
    """Lists all and compares with the cursor, the digest of the last listing.

    A watermark of times would lose files that arrive with an old time (`cp -p`, `mv`, an unpacked archive).
    """

    def __init__(self, lake: Lake, prefix: str) -> None:
        self._lake, self._prefix = lake, prefix.strip("/")

    def poll(self, cursor: str | None) -> tuple[list[ObjectInfo], str]:
        skip = len(self._prefix) + 1 if self._prefix else 0
        objects = [o for o in self._lake.list(self._prefix) if wanted(o.key[skip:])]
        digest = _digest(objects)
        return ([] if digest == cursor else objects), digest


class FolderSource(_Listing):
    """A folder of the lake: read with os.scandir, no links followed."""

    def __init__(self, lake: Lake, prefix: str) -> None:
        if lake.root is None:
            raise ValueError(f"{lake.url} is not a folder: use S3ListingSource.")
        super().__init__(lake, prefix)


class S3ListingSource(_Listing):
    """A prefix of the lake's bucket, by listing. A key that ends in "/" (a console's "folder") is no object."""

    def __init__(self, lake: Lake, prefix: str) -> None:
        if lake.root is not None:
            raise ValueError(f"{lake.url} is a folder: use FolderSource.")
        super().__init__(lake, prefix)


def source_for(lake: Lake, prefix: str) -> Source:
    return S3ListingSource(lake, prefix) if lake.root is None else FolderSource(lake, prefix)
