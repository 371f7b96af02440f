"""Ingests an upload batch in three steps: outcome of each object, rows of `images`, processed copies.

Every step can be killed anywhere and run again. Bytes are written under names that follow from their content, then the
quarantine's rows, then the step's own rows in one commit per batch; with that commit the step has been done.
"""

from __future__ import annotations

import hashlib
import os
from collections import deque
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

import pyarrow as pa
import pyarrow.compute as pc

from carsdepo_assets.data.objects.manifests import BatchError, BatchObject, read_manifest
from carsdepo_assets.data.objects.object_states import note_uploads
from carsdepo_assets.data.photographs.metadata import MetadataReader, uploaded_photographs
from carsdepo_assets.data.photographs.metadata_corrections import look_again
from carsdepo_assets.lake.image_metadata import object_key
from carsdepo_assets.lake.lake import Lake, ObjectMissing
from carsdepo_assets.lake.locks import one_writer
from carsdepo_assets.policy import Policy

if TYPE_CHECKING:
    from carsdepo_assets.imaging.pipeline import Processed

Row = dict[str, Any]
_WRITERS = 4  # threads that wait for the disk while others decode


ProcessingStep = Literal["images", "processed"]


@dataclass(frozen=True)
class UploadsResult:
    """What became of the objects of an upload batch."""

    batch_id: str
    rows: pa.Table
    """The batch's rows of UPLOADS, one for each object, in the order of keys."""

    def count(self, outcome: str) -> int:
        """The number of objects with an outcome: new, duplicate or quarantined."""
        return int(pc.sum(pc.equal(self.rows["outcome"], outcome)).as_py() or 0)


@dataclass(frozen=True)
class ImagesResult:
    """The photographs of an upload batch."""

    batch_id: str
    rows: pa.Table
    """The batch's rows of IMAGES."""
    quarantined: pa.Table
    """All rows of QUARANTINE of the batch, those of the uploads step too."""


@dataclass(frozen=True)
class ProcessedResult:
    """The processed copies of an upload batch's photographs."""

    batch_id: str
    rows: pa.Table
    """The batch's rows of PROCESSED."""


def ingest_uploads(lake: Lake, batch_id: str, policy: Policy, now: datetime | None = None) -> UploadsResult:
    """Records for each object of a batch whether it is new, a duplicate (same bytes), or quarantined (unreadable).

    Raises:
        BatchError: the batch is unknown.
    """
    manifest = read_manifest(lake, "uploads", batch_id)
    if not lake.committed("uploads", batch_id):
        at = now or datetime.now(UTC)
        objects = sorted(manifest.objects, key=lambda o: o.key)
        with ThreadPoolExecutor(_WRITERS, thread_name_prefix="sha256") as pool:
            read = list(pool.map(lambda o: _digest(lake, o, policy), objects))
        with one_writer(lake, "uploads"):
            rows = _outcomes(lake, batch_id, objects, read, at)
            refused = [
                _refusal(batch_id, row["key"], row["reason"], "", row["sha256"], at)
                for row in rows
                if row["outcome"] == "quarantined"
            ]
            lake.append("quarantine", refused, f"{batch_id}:uploads")
            lake.append("uploads", rows, batch_id)
    return UploadsResult(batch_id, _of_batch(lake, "uploads", batch_id))


def require_step_before(lake: Lake, batch_id: str, step: ProcessingStep) -> None:
    """Raises BatchError where what a step works on is not in the lake yet."""
    if step == "images" and not lake.committed("uploads", batch_id):
        read_manifest(lake, "uploads", batch_id)
        raise BatchError(f"batch {batch_id}: materialize `uploads` first; its objects have no outcome yet.")
    if step == "processed" and not lake.committed("images", batch_id):
        read_manifest(lake, "uploads", batch_id)
        raise BatchError(f"batch {batch_id}: materialize `images` first; its photographs are not in the lake yet.")


def is_processed(lake: Lake, batch_id: str, step: ProcessingStep) -> bool:
    """Whether the lake has all rows of a step for a batch."""
    if step == "processed":
        return lake.committed("processed", batch_id)
    return lake.committed("images", batch_id) and lake.committed("quarantine", batch_id)


def build_images(
    lake: Lake,
    batch_id: str,
    policy: Policy,
    progress: Callable[[int, int], None] | None = None,
    now: datetime | None = None,
) -> ImagesResult:
    """Decodes and measures the new photographs of a batch, and stores their processed copies.

    Args:
        lake: where the batch and its photographs are.
        batch_id: the batch.
        policy: the section `data` is used.
        progress: called after each photograph with the number processed and the number of all.
        now: the time that is stored with new rows; by default the present.

    Raises:
        BatchError: the uploads step of the batch has not run.
    """
    require_step_before(lake, batch_id, "images")
    if not is_processed(lake, batch_id, "images"):
        at = now or datetime.now(UTC)
        listed = _of_batch(lake, "uploads", batch_id).to_pylist()
        uploads = [row for row in listed if row["outcome"] == "new"]
        metadata = MetadataReader(lake, photographs=uploaded_photographs(lake))
        rows, refused = _photographs(lake, batch_id, uploads, policy, metadata, progress, at)
        lake.append("quarantine", refused, batch_id)
        with one_writer(lake, "images"):
            ids = [row["image_id"] for row in rows]
            stored = set(lake.read("images", ["image_id"], [("image_id", "in", ids)])["image_id"].to_pylist())
            lake.append("images", [row for row in rows if row["image_id"] not in stored], batch_id)
        duplicates = [row["key"] for row in listed if row["outcome"] == "duplicate"]
        look_again(lake, metadata.read_manifests, duplicates, metadata.contested)
    note_uploads(lake, batch_id, now or datetime.now(UTC))
    return ImagesResult(batch_id, _of_batch(lake, "images", batch_id), _of_batch(lake, "quarantine", batch_id))


def build_processed(lake: Lake, batch_id: str, policy: Policy) -> ProcessedResult:
    """Lists the processed copies of a batch's photographs; a copy that is missing or damaged is created again.

    Raises:
        BatchError: the images step of the batch has not run, or a copy is missing and its original too.
    """
    require_step_before(lake, batch_id, "processed")
    if not is_processed(lake, batch_id, "processed"):
        photographs = _of_batch(lake, "images", batch_id).to_pylist()
        with ThreadPoolExecutor(_cores(), thread_name_prefix="processed") as pool:
            rows = list(pool.map(lambda row: _processed_row(lake, row, policy), photographs))
        lake.append("processed", rows, batch_id)
    return ProcessedResult(batch_id, _of_batch(lake, "processed", batch_id))


def _digest(lake: Lake, entry: BatchObject, policy: Policy) -> tuple[str | None, str | None]:
    """(sha256 of the object's bytes, None), or (None, why it was not read)."""
    if entry.size == 0:
        return None, "empty"
    if entry.size > policy.data.max_bytes:
        return None, "too_large"
    try:
        data = lake.get(entry.key)
    except ObjectMissing:  # what cannot be read now, such as for want of the network, fails the run and is read again
        return None, "missing"
    if len(data) != entry.size:  # rewritten since: that is a new object, and another batch will list it
        return None, "changed"
    return hashlib.sha256(data).hexdigest(), None


def _outcomes(
    lake: Lake, batch_id: str, objects: list[BatchObject], read: list[tuple[str | None, str | None]], at: datetime
) -> list[Row]:
    first = _known_bytes(lake, {sha256 for sha256, _ in read if sha256 is not None})
    rows = []
    for entry, (sha256, reason) in zip(objects, read, strict=True):
        outcome = "quarantined"
        if sha256 is not None:
            outcome = "duplicate" if sha256 in first else "new"
            reason = f"same bytes as {first[sha256]}" if sha256 in first else None
            first.setdefault(sha256, entry.key)
        rows.append(
            {
                "batch_id": batch_id,
                "key": entry.key,
                "bytes": entry.size,
                "modified_at": entry.modified_at,
                "sha256": sha256,
                "outcome": outcome,
                "reason": reason,
                "ingested_at": at,
            }
        )
    return rows


def _known_bytes(lake: Lake, digests: Collection[str]) -> dict[str, str]:
    """sha256 -> key of those photographs that are in images, and of the new ones of batches still under way.

    What decoding refused is not known: the same bytes uploaded again are tried again and get their own reason.
    """
    images = lake.read("images", ["image_id", "key"], [("image_id", "in", digests)])
    first_keys = dict(zip(images["image_id"].to_pylist(), images["key"].to_pylist(), strict=True))
    uploads = lake.read("uploads", ["batch_id", "key", "sha256"], [("sha256", "in", digests), ("outcome", "=", "new")])
    rows = [row for row in uploads.to_pylist() if row["sha256"] not in first_keys]
    # What is new and not in images was refused, or its batch is under way; only these few batches are asked.
    built = lake.tables.committed_of("images", sorted({row["batch_id"] for row in rows}))
    for row in rows:
        if row["batch_id"] not in built:
            first_keys.setdefault(row["sha256"], row["key"])
    return first_keys


def _photographs(
    lake: Lake,
    batch_id: str,
    uploads: list[Row],
    policy: Policy,
    metadata: MetadataReader,
    progress: Callable[[int, int], None] | None,
    at: datetime,
) -> tuple[list[Row], list[Row]]:
    """Rows for images and for quarantine; every processed copy is on disk when this returns."""
    from carsdepo_assets.imaging.bad_image import BadImage
    from carsdepo_assets.imaging.pipeline import process_many

    rows: list[Row] = []
    refused: list[Row] = []
    asked: deque[Row] = deque()  # uploads whose bytes are under way, in order

    def files() -> Iterator[bytes]:
        for upload in uploads:
            try:
                data = lake.get(upload["key"])
            except ObjectMissing as error:
                refused.append(_refusal(batch_id, upload["key"], "missing", str(error), upload["sha256"], at))
                continue
            if hashlib.sha256(data).hexdigest() != upload["sha256"]:
                refused.append(
                    _refusal(
                        batch_id,
                        upload["key"],
                        "changed",
                        "rewritten since its batch was ingested",
                        upload["sha256"],
                        at,
                    )
                )
                continue
            asked.append(upload)
            yield data

    with ThreadPoolExecutor(_WRITERS, thread_name_prefix="objects") as pool:
        writes: deque[Future[None]] = deque()
        for processed in process_many(files(), policy.data, threads=_cores()):
            upload = asked.popleft()
            if isinstance(processed, BadImage):
                reason, detail = processed.reason, processed.detail
                refused.append(_refusal(batch_id, upload["key"], reason, detail, upload["sha256"], at))
            else:
                writes.append(pool.submit(lake.put, object_key(processed.sha256), processed.jpeg))
                if len(writes) >= 4 * _WRITERS:  # bounds memory, and a full disk is noticed soon
                    writes.popleft().result()
                rows.append(_image_row(batch_id, upload, processed, metadata, at))
            if progress is not None:
                progress(len(rows) + len(refused), len(uploads))
        for write in writes:
            write.result()
    return rows, refused


def _image_row(batch_id: str, upload: Row, processed: Processed, metadata: MetadataReader, at: datetime) -> Row:
    facts = processed.facts
    vehicle = metadata.read(upload["key"], {"captured_at": facts.captured_at, "camera": facts.camera})
    by_name = vehicle.group_by_name and f"group by its name: an augmented copy of {vehicle.group_by_name}"
    notes = "; ".join(note for note in (facts.notes, *vehicle.problems, by_name) if note)
    return {
        "image_id": processed.sha256,
        "batch_id": batch_id,
        "key": upload["key"],
        "bytes": upload["bytes"],
        "format": facts.format,
        "width": facts.width,
        "height": facts.height,
        "orientation": facts.orientation,
        "notes": notes,
        **processed.features,
        "phash": processed.phash,
        **vehicle.values,
        "ingested_at": at,
    }


def _refusal(batch_id: str, key: str, reason: str, detail: str, sha256: str | None, at: datetime) -> Row:
    return {
        "batch_id": batch_id,
        "key": key,
        "kind": "photograph",
        "reason": reason,
        "detail": detail or None,
        "sha256": sha256,
        "at": at,
    }


def _processed_row(lake: Lake, image: Row, policy: Policy) -> Row:
    from carsdepo_assets.imaging.bad_image import BadImage
    from carsdepo_assets.imaging.headers import jpeg_header
    from carsdepo_assets.imaging.pipeline import process

    key = object_key(image["image_id"])
    try:
        jpeg = lake.get(key)
        header = jpeg_header(jpeg)
    except (ObjectMissing, BadImage):
        try:
            data = lake.get(image["key"])
        except ObjectMissing as error:
            raise BatchError(f"{key} is gone and so is its original: {error}") from error
        if hashlib.sha256(data).hexdigest() != image["image_id"]:
            raise BatchError(
                f"{key} is gone and {image['key']} now holds another photograph; put the first back."
            ) from None
        jpeg = process(data, policy.data).jpeg
        lake.put(key, jpeg)
        header = jpeg_header(jpeg)
    # The copy is upright already; its scale follows from the longest sides, as imaging.resize.fit_longest defines it.
    return {
        "image_id": image["image_id"],
        "batch_id": image["batch_id"],
        "object_key": key,
        "sha256": hashlib.sha256(jpeg).hexdigest(),
        "bytes": len(jpeg),
        "width": header.width,
        "height": header.height,
        "scale": max(header.width, header.height) / max(image["width"], image["height"]),
    }


def _of_batch(lake: Lake, table: str, batch_id: str) -> pa.Table:
    rows = lake.read(table, where=[("batch_id", "=", batch_id)])
    return rows.sort_by("key" if "key" in rows.column_names else "image_id")


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
