"""The table `photograph_features`: what a network sees in each photograph, measured once a photograph."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Collection, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from carsdepo_assets.lake.lake import Lake

TABLE = "photograph_features"
CODE_BITS = 512
_SEED = 20261127  # of the directions of codes: another seed would be another code


def photographs_without(lake: Lake, extractor: str, image_ids: Sequence[str]) -> list[str]:
    """Those of some photographs that have no features of the extractor yet, in their order."""
    stored = lake.read(TABLE, ["image_id"], [("extractor", "=", extractor), ("image_id", "in", list(image_ids))])
    there = set(stored["image_id"].to_pylist())
    return [image for image in image_ids if image not in there]


def append_features(lake: Lake, extractor: str, image_ids: Sequence[str], vectors: NDArray[np.float32]) -> None:
    """Stores the features of photographs; storing the same ones again changes nothing.

    Args:
        lake: The lake.
        extractor: What measured them.
        image_ids: The photographs.
        vectors: (photographs, dimensions); they are stored at unit length.
    """
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit = (vectors / np.where(norms > 0, norms, 1)).astype("<f2")
    rows = {
        "image_id": pa.array(list(image_ids), pa.string()),
        "extractor": pa.array([extractor] * len(image_ids), pa.string()),
        "vector": pa.array([row.tobytes() for row in unit], pa.binary()),
        "code": pa.array([row.tobytes() for row in codes(unit.astype(np.float32))], pa.binary()),
    }
    unit_of_work = hashlib.sha256("\n".join([extractor, *sorted(image_ids)]).encode()).hexdigest()[:16]
    lake.append(TABLE, pa.table(rows), unit_of_work)


def read_features(
    lake: Lake, extractor: str, image_ids: Collection[str] | None = None
) -> tuple[list[str], NDArray[np.float32]]:
    """Reads the features of photographs.

    Args:
        lake: The lake.
        extractor: What measured them.
        image_ids: Of the photographs that are asked for; None: all.

    Returns:
        The ids of those that have features, sorted, and their unit vectors, (photographs, dimensions). Rows that do not
        fit are left out: those of another width than most, and those that are not of numbers alone.
    """
    where = [("extractor", "=", extractor)]
    asked = where if image_ids is None else [*where, ("image_id", "in", list(image_ids))]
    table = lake.read(TABLE, ["image_id", "vector"], asked)
    widths = Counter(pc.binary_length(table["vector"]).to_pylist())
    width = max(((n, size) for size, n in widths.items() if size and size % 2 == 0), default=(0, 0))[1]
    if not width:
        return [], np.zeros((0, 0), np.float32)
    fitting = table.filter(pc.equal(pc.binary_length(table["vector"]), width))
    by_id = dict(zip(fitting["image_id"].to_pylist(), fitting["vector"].to_pylist(), strict=True))  # twice: equal rows
    vectors = np.frombuffer(b"".join(by_id.values()), "<f2").reshape(len(by_id), width // 2).astype(np.float32)
    ids = list(by_id)
    places = sorted(np.flatnonzero(np.isfinite(vectors).all(axis=1)).tolist(), key=ids.__getitem__)
    return [ids[n] for n in places], vectors[places]


def codes(vectors: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Codes of vectors whose Hamming distance grows with the angle between them (Charikar 2002, SimHash).

    Args:
        vectors: (n, dimensions).

    Returns:
        (n, CODE_BITS / 8).
    """
    directions = np.random.default_rng(_SEED).normal(size=(vectors.shape[1], CODE_BITS)).astype(np.float32)
    return np.packbits(vectors @ directions > 0, axis=1)
