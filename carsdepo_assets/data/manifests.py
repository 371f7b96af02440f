"""The manifest of each batch: it is stored before the batch's partition exists, and is never changed."""

from __future__ import annotations

import hashlib
import re
from pathlib import PurePosixPath
from typing import Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError

from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.lake.objects import ObjectInfo

Kind = Literal["uploads", "labels"]

_BATCH_ID = re.compile(r"\d{8}T\d{12}-[0-9a-f]{12}")


class BatchError(ValueError):
    """A batch is unknown, or a step it needs has not run."""


class BatchObject(BaseModel):
    """A file of raw/ as it was at one time. Whether its bytes are new is decided in object_states."""

    model_config = ConfigDict(frozen=True)

    key: str
    size: int  # bytes
    modified_at: AwareDatetime
    # Of label files, and of what was compared with an earlier batch. Photographs are hashed when their batch is read.
    sha256: str | None = None
    # S3's. None in a folder, and in what earlier versions wrote.
    etag: str | None = None

    @classmethod
    def of(cls, info: ObjectInfo) -> BatchObject:
        """A file as a listing gives it."""
        return cls(key=info.key, size=info.size, modified_at=info.modified_at, etag=info.etag)

    def fingerprint(self, with_etag: bool = True) -> bytes:
        """16 bytes naming key, size and time, and the ETag where it is known and asked for."""
        text = f"{self.key}\0{self.size}\0{self.modified_at.timestamp():.6f}"
        if with_etag and self.etag is not None:
            text += f"\0{self.etag}"
        return hashlib.blake2b(text.encode("utf-8", "surrogateescape"), digest_size=16).digest()


class BatchManifest(BaseModel):
    """The files of one batch, and where they come from."""

    model_config = ConfigDict(frozen=True)

    batch_id: str  # UTC time to the microsecond, then 12 hex digits of the objects: sorts by time
    kind: Kind
    objects: tuple[BatchObject, ...]
    closed_at: AwareDatetime
    origin: str = "drop"  # drop, or the import's origin, such as sample, yolo or coco
    # Of an import: import (its name), format (yolo | coco), class_ids {source's id as text: our class id}.
    options: dict[str, Any] = {}


def manifest_key(kind: Kind, batch_id: str) -> str:
    """Where the manifest of a batch is stored."""
    return f"batches/{kind}/{batch_id}.json"


def read_manifest(lake: Lake, kind: Kind, batch_id: str) -> BatchManifest:
    """Reads the manifest of a batch.

    Raises:
        BatchError: no such batch was closed, or its manifest is damaged.
    """
    key = manifest_key(kind, batch_id)
    if not _BATCH_ID.fullmatch(batch_id) or not lake.exists(key):
        raise BatchError(
            f"no {kind} batch {batch_id!r}: {key} is not in {lake.url}. "
            f"The new_{kind} sensor or `carsdepo import` closes batches."
        )
    try:
        return BatchManifest.model_validate_json(lake.get(key))
    except ValidationError as error:
        raise BatchError(f"{key}: not a batch manifest: {error}") from error


def list_batches(lake: Lake, kind: Kind) -> list[str]:
    """Ids of every closed batch, oldest first."""
    stems = (PurePosixPath(entry.key).stem for entry in lake.list(f"batches/{kind}/"))
    return sorted(stem for stem in stems if _BATCH_ID.fullmatch(stem))
