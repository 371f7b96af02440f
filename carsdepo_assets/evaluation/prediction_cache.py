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
from dataclasses import asdict, dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.lake.models import ModelCard
from carsdepo_assets.lake.parquet import read_parquet
from carsdepo_assets.lake.schemas import SCORED_BOX
from carsdepo_assets.policy import Policy
from carsdepo_assets.registry.source_digest import source_digest
from carsdepo_assets.scoring.boxes import Detections

logger = logging.getLogger(__name__)

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
    """What a model detects on one photograph. size: width and height of the upright original, in pixels."""

    detections: Detections
    size: tuple[int, int]


def settings(card: ModelCard, policy: Policy, versions: Mapping[str, str] | None = None) -> str:
    """A digest of all that detections depend on besides weights and photograph; 12 hexadecimal digits.

    Args:
        card: the model's.
        policy: gives the limits of the decoder.
        versions: of the libraries that predict; None: those that are installed here.
    """
    from carsdepo_assets.imaging.serving import serving_limits

    content = {
        "detector": card.detector,
        "classes": len(card.class_names),
        "image_size": card.image_size,
        "decode": asdict(serving_limits(policy)),
        "code": _code(tuple(sorted((versions or installed_versions()).items()))),
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]


def folder(lake: Lake, card: ModelCard, policy: Policy) -> str:
    """The folder of the lake that holds a model's cached detections under the present code and policy.

    An installation that lacks torch predicts nothing itself: it looks where workers with the same source predict.
    """
    return f"scores/{card.digest}/{settings(card, policy, _versions(lake))}"


def installed_versions() -> dict[str, str]:
    """The versions of the libraries between photograph and box; those that are not installed here are left out."""
    versions = {}
    for name in _DISTRIBUTIONS:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def can_predict() -> bool:
    """Whether every library that predicting needs is installed here."""
    return len(installed_versions()) == len(_DISTRIBUTIONS)


def announce(lake: Lake) -> None:
    """Writes down with which libraries this installation predicts, for those of the same source that lack them."""
    key, content = _announced_key(), json.dumps(installed_versions(), sort_keys=True).encode()
    if not lake.exists(key) or lake.get(key) != content:
        lake.put(key, content)


def _announced_key() -> str:
    return f"scores/versions/{source_digest(parts=_SOURCES)}.json"


def _versions(lake: Lake) -> dict[str, str]:
    if can_predict() or not lake.exists(_announced_key()):
        return installed_versions()
    return dict(json.loads(lake.get(_announced_key())))


def read(lake: Lake, place: str) -> dict[str, CachedPredictions]:
    """Reads the cached detections in a folder.

    A part that cannot be read (it was cut short, or its checksum fails) is removed; its photographs count as missing.

    Returns:
        The detections by image_id.
    """
    predictions: dict[str, CachedPredictions] = {}
    for part in list(lake.list(place)):
        if not part.key.endswith(".parquet"):
            continue
        try:
            table = read_parquet(lake.get(part.key), verify_checksums=True).cast(_SCHEMA)
        except (pa.ArrowException, OSError, ValueError) as error:
            logger.warning("%s is no readable part of the score cache (%s): removed.", part.key, error)
            lake.delete(part.key)
            continue
        predictions |= _rows(table)
    return predictions


def write(lake: Lake, place: str, predictions: Mapping[str, CachedPredictions]) -> None:
    """Writes detections as one more part of a folder.

    The part is named by its photographs: writing it again changes nothing, and two writers do not disturb each other.
    """
    ids = sorted(predictions)
    ordered = [predictions[i] for i in ids]
    sink = io.BytesIO()
    pq.write_table(_table(ids, ordered), sink, compression="zstd", write_page_checksum=True)
    name = hashlib.sha256("\n".join(ids).encode()).hexdigest()[:16]
    lake.put(f"{place}/{name}.parquet", sink.getvalue())


def read_left_out(lake: Lake, place: str) -> frozenset[str]:
    """The image_ids that the service would refuse under the folder's limits, so that they have no detections."""
    left_out: set[str] = set()
    for part in list(lake.list(f"{place}/left-out")):
        try:
            left_out.update(json.loads(lake.get(part.key)))
        except ValueError as error:
            logger.warning("%s is no readable part of the score cache (%s): removed.", part.key, error)
            lake.delete(part.key)
    return frozenset(left_out)


def write_left_out(lake: Lake, place: str, ids: Sequence[str]) -> None:
    """Writes down the image_ids that the service would refuse, so that they are not decoded anew each time."""
    if ids:
        content = json.dumps(sorted(ids)).encode()
        lake.put(f"{place}/left-out/{hashlib.sha256(content).hexdigest()[:16]}.json", content)


def _table(ids: Sequence[str], predictions: Sequence[CachedPredictions]) -> pa.Table:
    counts = [len(f.detections) for f in predictions]
    xyxy = np.concatenate([np.zeros((0, 4)), *(f.detections.xyxy for f in predictions)])
    classes = np.concatenate([np.zeros(0, np.int64), *(f.detections.classes for f in predictions)])
    scores = np.concatenate([np.zeros(0), *(f.detections.scores for f in predictions)])
    columns = [classes.astype(np.int32), *xyxy.T, scores]
    boxes = pa.StructArray.from_arrays([pa.array(np.ascontiguousarray(c)) for c in columns], fields=list(SCORED_BOX))
    offsets = pa.array(np.concatenate([[0], np.cumsum(counts)]).astype(np.int32))
    return pa.table(
        [
            pa.array(ids, pa.string()),
            pa.array([f.size[0] for f in predictions], pa.int32()),
            pa.array([f.size[1] for f in predictions], pa.int32()),
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
    predictions = {}
    for n, (image, width, height) in enumerate(zip(*(table[c].to_pylist() for c in _SCHEMA.names[:3]), strict=True)):
        mine = slice(ends[n], ends[n + 1])
        detections = Detections(
            xyxy[mine], values["score"][mine].astype(np.float64), values["class_id"][mine].astype(np.int64)
        )
        predictions[image] = CachedPredictions(detections, (width, height))
    return predictions


@functools.cache
def _code(versions: tuple[tuple[str, str], ...]) -> str:
    """Digest of the source between photograph and box, and of its libraries' versions."""
    digest = hashlib.sha256(source_digest(parts=_SOURCES).encode())
    for name, version in versions:
        digest.update(f"{name} {version}\n".encode())
    return digest.hexdigest()
