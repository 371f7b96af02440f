"""A model's detections, kept in the lake: scores/<digest>/<settings>/<part>.parquet, one row a photograph.

A detection follows from the weights, the photograph's bytes and the way from one to the other, so its place is named by
all three: the model's digest, the image_id (a sha256 of the bytes) and `settings`, a digest of what decodes and
predicts (policy's limits, the network's size, this package's source and its libraries' versions). Nothing in the cache
can go stale; what changes is looked for elsewhere. The folder may be deleted at any time.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import io
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.lake.models import ModelCard
from carsdepo_assets.lake.schemas import SCORED_BOX
from carsdepo_assets.policy import Policy
from carsdepo_assets.scoring.boxes import Detections

logger = logging.getLogger(__name__)

_PACKAGE = Path(__file__).resolve().parents[1]
_SOURCES = ("detectors", "imaging", "scoring/boxes.py")
_DISTRIBUTIONS = ("torch", "torchvision", "ultralytics", "numpy", "opencv-python", "simplejpeg", "pillow")
_SCHEMA = pa.schema(
    [
        ("image_id", pa.string()),
        ("width", pa.int32()),
        ("height", pa.int32()),  # upright original
        ("boxes", pa.list_(SCORED_BOX)),  # in its pixels, best first
    ]
)


@dataclass(frozen=True)
class CachedPredictions:
    """What a model says of one photograph. size: width and height of the upright original."""

    detections: Detections
    size: tuple[int, int]


def settings(card: ModelCard, policy: Policy) -> str:
    """12 hex digits over all that detections rest on beside weights and photograph."""
    limits = policy.data
    said = {
        "detector": card.detector,
        "classes": len(card.class_names),
        "image_size": card.image_size,
        "decode": [limits.max_bytes, limits.max_pixels, limits.min_side_px],
        "code": _code(),
    }
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:12]


def folder(card: ModelCard, policy: Policy) -> str:
    return f"scores/{card.digest}/{settings(card, policy)}"


def read(lake: Lake, place: str) -> dict[str, CachedPredictions]:
    """{image_id: what was found}. A part that cannot be read (torn, or its checksum fails) is removed and missing."""
    found: dict[str, CachedPredictions] = {}
    for part in list(lake.list(place)):
        try:
            table = pq.read_table(io.BytesIO(lake.get(part.key)), page_checksum_verification=True).cast(_SCHEMA)
        except (pa.ArrowException, OSError, ValueError) as error:
            logger.warning("%s is no readable part of the score cache (%s): removed.", part.key, error)
            lake.delete(part.key)
            continue
        found |= _rows(table)
    return found


def write(lake: Lake, place: str, found: Mapping[str, CachedPredictions]) -> None:
    """One part, named by its photographs: writing it again changes nothing, and no other writer is in its way."""
    ids = sorted(found)
    ordered = [found[i] for i in ids]
    sink = io.BytesIO()
    pq.write_table(_table(ids, ordered), sink, compression="zstd", write_page_checksum=True)
    name = hashlib.sha256("\n".join(ids).encode()).hexdigest()[:16]
    lake.put(f"{place}/{name}.parquet", sink.getvalue())


def _table(ids: Sequence[str], found: Sequence[CachedPredictions]) -> pa.Table:
    counts = [len(f.detections) for f in found]
    xyxy = np.concatenate([np.zeros((0, 4)), *(f.detections.xyxy for f in found)])
    classes = np.concatenate([np.zeros(0, np.int64), *(f.detections.classes for f in found)])
    scores = np.concatenate([np.zeros(0), *(f.detections.scores for f in found)])
    columns = [classes.astype(np.int32), *xyxy.T, scores]
    boxes = pa.StructArray.from_arrays([pa.array(np.ascontiguousarray(c)) for c in columns], fields=list(SCORED_BOX))
    offsets = pa.array(np.concatenate([[0], np.cumsum(counts)]).astype(np.int32))
    return pa.table(
        [
            pa.array(ids, pa.string()),
            pa.array([f.size[0] for f in found], pa.int32()),
            pa.array([f.size[1] for f in found], pa.int32()),
            pa.ListArray.from_arrays(offsets, boxes),
        ],
        schema=_SCHEMA,
    )


def _rows(table: pa.Table) -> dict[str, CachedPredictions]:
    boxes = table["boxes"].combine_chunks()
    flat = boxes.flatten()
    values = {name: flat.field(name).to_numpy(zero_copy_only=False) for name in SCORED_BOX.names}
    ends = np.cumsum([0, *boxes.value_lengths().to_pylist()])
    xyxy = np.stack([values[name] for name in ("x1", "y1", "x2", "y2")], axis=1).astype(np.float64)
    found = {}
    for n, (image, width, height) in enumerate(zip(*(table[c].to_pylist() for c in _SCHEMA.names[:3]), strict=True)):
        mine = slice(ends[n], ends[n + 1])
        detections = Detections(
            xyxy[mine], values["score"][mine].astype(np.float64), values["class_id"][mine].astype(np.int64)
        )
        found[image] = CachedPredictions(detections, (width, height))
    return found


@functools.cache
def _code() -> str:
    """Digest of the source between photograph and box, and of its libraries' versions."""
    digest = hashlib.sha256()
    for name in _SOURCES:
        place = _PACKAGE / name
        for file in sorted(place.rglob("*.py")) if place.is_dir() else [place]:
            digest.update(f"{file.relative_to(_PACKAGE).as_posix()}\n".encode() + file.read_bytes())
    for name in _DISTRIBUTIONS:
        digest.update(f"{name} {importlib.metadata.version(name)}\n".encode())
    return digest.hexdigest()
