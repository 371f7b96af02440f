"""The photographs of a dataset: their originals by the digest of their bytes, and the copies that trainings read."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from carsdepo_assets.commands.reproduction.fields import ComparedField
from carsdepo_assets.lake.lake import Lake, LakeError
from carsdepo_assets.policy import Policy

Row = dict[str, Any]
Progress = Callable[[int, int], None]
_THREADS = 8  # that wait for the two lakes


@dataclass
class PhotographsNow:
    """What became of a dataset's photographs."""

    originals: int = 0
    """Originals whose bytes are the same; they are in the clean lake."""
    copies: int = 0
    """Processed copies that were made again from them, byte for byte."""
    as_stored: int = 0
    """Processed copies that are made otherwise now, and were taken as the lake has them: their digests hold."""
    fields: list[ComparedField] = field(default_factory=list)
    """One for each photograph that is not as it was."""


def copy_originals(source: Lake, clean: Lake, rows: Sequence[Row], progress: Progress | None = None) -> PhotographsNow:
    """Copies originals into the clean lake under their keys, where their bytes are those that their ids name.

    Args:
        source: the lake of the model.
        clean: the one in which it is made again.
        rows: of a dataset's manifest.
        progress: called with the number of photographs looked at and of all.
    """
    photographs = PhotographsNow()

    def look(row: Row) -> ComparedField | None:
        image, name = row["image_id"], f"photograph {row['key']}"
        digest = None
        for key in _keys(source, row):
            try:
                data = source.get(key)
            except LakeError:
                continue
            digest = hashlib.sha256(data).hexdigest()
            if digest == image:
                if not clean.exists(row["key"]):
                    clean.put(row["key"], data)
                return None
        if digest is None:
            return ComparedField("data", name, "missing", image[:16], "", "the original is gone: erased, or moved")
        return ComparedField("data", name, "differs", image[:16], digest[:16], "its bytes are not those of its digest")

    with ThreadPoolExecutor(_THREADS, thread_name_prefix="originals") as pool:
        for number, problem in enumerate(pool.map(look, rows), 1):
            if problem is None:
                photographs.originals += 1
            else:
                photographs.fields.append(problem)
            if progress is not None:
                progress(number, len(rows))
    return photographs


def _keys(source: Lake, row: Row) -> Iterator[str]:
    """Where the bytes may lie: where they were first uploaded, then everywhere else that they came to."""
    yield row["key"]
    uploads = source.read("uploads", ["key", "sha256"], [("sha256", "in", [row["image_id"]])])
    yield from (key for key in uploads["key"].to_pylist() if key != row["key"])


def make_copies(
    source: Lake,
    clean: Lake,
    rows: Sequence[Row],
    recorded: Mapping[str, Row],
    policy: Policy,
    photographs: PhotographsNow,
) -> None:
    """Makes the processed copies again from the originals in the clean lake, and compares them with their digests.

    Args:
        source: the lake of the model.
        clean: the one in which it is made again, with the originals.
        rows: of the dataset's manifest.
        recorded: rows of PROCESSED by image id.
        policy: the section `data` says how copies are made.
        photographs: gets the numbers, and a field for each copy that is not as it was.
    """
    from carsdepo_assets.imaging.bad_image import BadImage
    from carsdepo_assets.imaging.pipeline import process_many

    there = [row for row in rows if clean.exists(row["key"]) and row["image_id"] in recorded]
    copies = process_many((clean.get(row["key"]) for row in there), policy.data, threads=len(os.sched_getaffinity(0)))
    for row, processed in zip(there, copies, strict=True):
        expected = recorded[row["image_id"]]["sha256"]
        jpeg = None if isinstance(processed, BadImage) else processed.jpeg
        now = None if jpeg is None else hashlib.sha256(jpeg).hexdigest()
        if now == expected:
            assert jpeg is not None
            photographs.copies += 1
        else:
            try:
                jpeg = source.get(row["object_key"])
            except LakeError:
                jpeg = b""
            if hashlib.sha256(jpeg).hexdigest() != expected:
                name, what = f"processed copy {row['object_key']}", "neither made again nor stored as it was"
                fields = name, "differs", expected[:16], (now or "none")[:16], what
                photographs.fields.append(ComparedField("data", *fields))  # type: ignore[arg-type]
                continue
            photographs.as_stored += 1
        if not clean.exists(row["object_key"]) or clean.get(row["object_key"]) != jpeg:
            clean.put(row["object_key"], jpeg)
