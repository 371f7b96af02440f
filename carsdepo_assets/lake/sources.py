"""Sources of new files: a source lists the objects below a prefix of the lake.

Which of the listed objects are new is not decided here, but against the manifests of earlier batches.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Protocol

from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.lake.objects import ObjectInfo

_UNFINISHED = (".part", ".tmp")


class Source(Protocol):
    """A place that is asked for its objects again and again.

    An object may be delivered more than once: the caller compares its key, size, time and ETag with what it has.
    """

    def poll(self, cursor: str | None) -> tuple[list[ObjectInfo], str]:
        """Lists the objects if anything changed.

        Args:
            cursor: what the previous call returned as cursor; None at the first.

        Returns:
            All objects, or none when nothing changed since the cursor; and the cursor for the next call.
        """
        ...


def wanted(key: str) -> bool:
    """Whether a key is to be ingested: not a hidden file, nor in a hidden folder, nor named as an unfinished upload."""
    parts = key.split("/")
    return not any(part.startswith(".") for part in parts) and not parts[-1].lower().endswith(_UNFINISHED)


def _digest(objects: Iterable[ObjectInfo]) -> str:
    digest = hashlib.sha256()
    for o in objects:
        digest.update(f"{o.key}\0{o.size}\0{o.modified_at.isoformat()}\0{o.etag}\n".encode())
    return digest.hexdigest()


class _Listing:
    """Lists all objects and compares them with the cursor, which is a digest of the previous listing.

    Asking only for objects that are younger than the previous listing would lose files that arrive with an old time
    (by `cp -p`, by `mv`, from an archive).
    """

    def __init__(self, lake: Lake, prefix: str) -> None:
        self._lake, self._prefix = lake, prefix.strip("/")

    def poll(self, cursor: str | None) -> tuple[list[ObjectInfo], str]:
        skip = len(self._prefix) + 1 if self._prefix else 0
        objects = [o for o in self._lake.list(self._prefix) if wanted(o.key[skip:])]
        digest = _digest(objects)
        return ([] if digest == cursor else objects), digest


class FolderSource(_Listing):
    """A folder of a lake that is a folder. Links are not followed."""

    def __init__(self, lake: Lake, prefix: str) -> None:
        if lake.root is None:
            raise ValueError(f"{lake.url} is not a folder: use S3ListingSource.")
        super().__init__(lake, prefix)


class S3ListingSource(_Listing):
    """A prefix of a lake on S3. A key that ends in "/", as a console creates for a "folder", is no object."""

    def __init__(self, lake: Lake, prefix: str) -> None:
        if lake.root is not None:
            raise ValueError(f"{lake.url} is a folder: use FolderSource.")
        super().__init__(lake, prefix)


def source_for(lake: Lake, prefix: str) -> Source:
    """Returns the source of the objects below a prefix, of the kind that suits the lake."""
    return S3ListingSource(lake, prefix) if lake.root is None else FolderSource(lake, prefix)
