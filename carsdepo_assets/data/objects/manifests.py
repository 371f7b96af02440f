"""The manifest of each batch: it is stored before the batch's partition exists, and is never changed."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError

from carsdepo_assets.data.folders.class_names import may_hold_names
from carsdepo_assets.lake.lake import Lake, ObjectMissing
from carsdepo_assets.lake.objects import ObjectInfo
from carsdepo_assets.lake.parquet import read_parquet

Kind = Literal["uploads", "labels"]

_ROLLED = pa.schema(
    [
        ("batch_id", pa.string()),
        ("manifest", pa.string()),  # JSON, without the objects
        ("key", pa.string()),
        ("size", pa.int64()),
        ("modified_at", pa.timestamp("us", tz="UTC")),
        ("sha256", pa.string()),
        ("etag", pa.string()),
    ]
)
_BATCH_ID = re.compile(r"\d{8}T\d{12}-[0-9a-f]{12}")


LABEL_SUFFIXES = {".txt", ".json", ".jsonl", ".manifest", ".xml"}
# Suffixes of files that may lie beside photographs without being one.
SIDECAR_SUFFIXES = {*LABEL_SUFFIXES, ".csv", ".yaml", ".yml", ".cache"}
_README = "readme.txt"


def is_photograph(key: str) -> bool:
    """Whether a key under raw/uploads is taken for a photograph: all but sidecars, as decoding decides the rest."""
    return PurePosixPath(key).suffix.lower() not in SIDECAR_SUFFIXES


def is_label(key: str) -> bool:
    """Whether a key under raw/labels is taken for a label file."""
    path = PurePosixPath(key)
    return path.suffix.lower() in LABEL_SUFFIXES and path.name.lower() != _README and not may_hold_names(path.name)


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
    """Reads the manifest of a batch, rolled up with others or not.

    Raises:
        BatchError: no such batch was closed, or its manifest is damaged.
    """
    key = manifest_key(kind, batch_id)
    if _BATCH_ID.fullmatch(batch_id):
        try:
            return BatchManifest.model_validate_json(lake.get(key))
        except ObjectMissing:
            for rolled_key in rolled_up_in(lake, kind, batch_id, batch_id):
                for manifest in read_rolled(lake, rolled_key, batch_id):
                    return manifest
        except ValidationError as error:
            raise BatchError(f"{key}: not a batch manifest: {error}") from error
    raise BatchError(
        f"no {kind} batch {batch_id!r}: {key} is not in {lake.url}. "
        f"The new_{kind} sensor or `carsdepo import` closes batches."
    )


def list_manifests(lake: Lake, kind: Kind) -> list[str]:
    """Ids of the batches with a manifest of their own, oldest first: not those that were rolled up."""
    stems = (PurePosixPath(entry.key).stem for entry in lake.list(f"batches/{kind}/"))
    return sorted(stem for stem in stems if _BATCH_ID.fullmatch(stem))


def rolled_up_in(lake: Lake, kind: Kind, first: str, last: str) -> list[str]:
    """The keys of the files of rolled up manifests that may hold batches from first to last, by the files' names."""
    files = []
    for entry in lake.list(rolled_folder(kind)):
        begin, _, end = PurePosixPath(entry.key).stem.partition("_")
        if begin <= last and first <= end:
            files.append(entry.key)
    return files


def rolled_folder(kind: Kind) -> str:
    """The folder of the manifests of a kind that were rolled up: FIRST_LAST.parquet, by ids of batches."""
    return f"batches/rolled/{kind}/"


def read_rolled(lake: Lake, key: str, batch_id: str | None = None) -> list[BatchManifest]:
    """The manifests of a file of rolled up ones, oldest first; of one batch or of all.

    Raises:
        BatchError: the file is damaged.
    """
    try:
        rows = read_parquet(lake.get(key))
        if batch_id is not None:
            rows = rows.filter(pc.equal(rows["batch_id"], batch_id))
        manifests: dict[str, dict[str, Any]] = {}
        for row in rows.to_pylist():
            batch = manifests.setdefault(row["batch_id"], {**json.loads(row["manifest"]), "objects": []})
            batch["objects"].append({name: row[name] for name in BatchObject.model_fields})
        return [BatchManifest.model_validate(manifests[batch]) for batch in sorted(manifests)]
    except (ValueError, KeyError, pa.ArrowException) as error:
        raise BatchError(f"{key}: not a file of batch manifests: {error}") from error


def rolled(manifests: Sequence[BatchManifest]) -> bytes:
    """Manifests as the bytes of one file that `read_rolled` reads."""
    rows = [
        {
            "batch_id": manifest.batch_id,
            "manifest": manifest.model_dump_json(exclude={"objects"}),
            **entry.model_dump(),
        }
        for manifest in manifests
        for entry in manifest.objects
    ]
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(rows, schema=_ROLLED), sink, compression="zstd")
    return sink.getvalue().to_pybytes()


def record_digest(options: Mapping[str, Any]) -> str | None:
    """Names what a label file's classes mean by an import's options: 16 digits; None where they say nothing.

    Labels that were read with one are read again when the record of their import has another.
    """
    meaning = {name: options.get(name) for name in ("class_ids", "format")}
    if not any(meaning.values()):
        return None
    return hashlib.sha256(json.dumps(meaning, sort_keys=True).encode()).hexdigest()[:16]
