"""Photographs that are nearly the same picture, found without comparing all with all."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from carsdepo_assets.imaging.perceptual import MIN_CORRELATION, correlation, grey_thumbnail

_SAME_HASH = 64  # photographs of one hash that others are compared with: thousands of plain pictures share a hash
_BLOCK = 1024


def dataset_thumbnails(jpeg: bytes, name: str) -> NDArray[Any]:
    """The thumbnail of a processed image by which near-duplicates are verified; see imaging.perceptual.

    Args:
        jpeg: the image's bytes.
        name: the image's key, for the error.

    Returns:
        Grey levels of shape (SIDE, SIDE).

    Raises:
        ValueError: the image is damaged.
    """
    grey = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_GRAYSCALE) if jpeg else None
    if grey is None:
        raise ValueError(f"{name} cannot be decoded: {len(jpeg)} bytes, and no JPEG.")
    return grey_thumbnail(grey)


def near_duplicates(
    hashes: Mapping[str, str], fresh: Collection[str], bits: int, thumbnail: Callable[[str], NDArray[Any]]
) -> list[tuple[str, str]]:
    """Finds photographs that are nearly the same picture: their hashes are near and their thumbnails correlate.

    Args:
        hashes: perceptual hash (16 hexadecimal digits) by image id.
        fresh: ids of new photographs; a pair has at least one of them.
        bits: near hashes differ in at most so many of 64 bits.
        thumbnail: the grey thumbnail of an id (see imaging.perceptual); called once an id, for near hashes only.

    Returns:
        Sorted pairs of ids.
    """
    seen: dict[str, NDArray[Any]] = {}
    pairs = []
    for a, b in near_pairs(hashes, fresh, bits):
        for i in (a, b):
            if i not in seen:
                seen[i] = thumbnail(i)
        if correlation(seen[a], seen[b]) >= MIN_CORRELATION:
            pairs.append((a, b))
    return pairs


def near_pairs(hashes: Mapping[str, str], fresh: Collection[str], bits: int) -> Iterator[tuple[str, str]]:
    """Finds pairs of near hashes without comparing all with all.

    By the pigeonhole principle: cut into bits + 1 chunks, two such hashes agree in at least one, so only those that
    share a chunk are compared (Manku, Jain & Das Sarma 2007, section 3). Of photographs with one and the same hash,
    each is compared with the first 64 only (those not fresh first): the rest is linked through these.

    Args:
        hashes: 64-bit hash as 16 hexadecimal digits, by id.
        fresh: ids of new photographs; a pair has at least one of them.
        bits: near hashes differ in at most so many bits.

    Returns:
        The pairs (a, b) with a < b, sorted, each once.
    """
    fresh = set(fresh)
    members: dict[int, list[str]] = defaultdict(list)
    for i in sorted(hashes, key=lambda i: (i in fresh, i)):
        members[int(hashes[i], 16)].append(i)
    values = np.array(sorted(members), dtype=np.uint64)
    new = np.array([any(i in fresh for i in members[int(v)]) for v in values], dtype=bool)
    pairs: set[tuple[str, str]] = set()

    def add_pairs(left: Sequence[str], right: Sequence[str]) -> None:
        pairs.update((min(a, b), max(a, b)) for a in left for b in right if a != b and (a in fresh or b in fresh))

    for u, v in _near_values(values, new, bits):
        add_pairs(members[u], members[v][:_SAME_HASH])
        add_pairs(members[v][_SAME_HASH:], members[u][:_SAME_HASH])
    yield from sorted(pairs)


def _near_values(values: NDArray[np.uint64], new: NDArray[np.bool_], bits: int) -> set[tuple[int, int]]:
    """Pairs (u <= v) of the sorted distinct values, one at least `new`, at most `bits` apart; (u, u) for new ones."""
    pairs = {(int(v), int(v)) for v in values[new]}
    if not pairs:
        return pairs
    edges = np.linspace(0, 64, bits + 2).astype(int).tolist()
    for low, high in pairwise(edges):
        chunks = (values >> np.uint64(low)) & np.uint64((1 << (high - low)) - 1)
        order = np.argsort(chunks, kind="stable")
        starts = np.flatnonzero(np.r_[True, np.diff(chunks[order]) != 0])
        for start, end in zip(starts, np.r_[starts[1:], len(order)], strict=True):
            bucket = order[start:end]
            asking = bucket[new[bucket]]
            if len(bucket) < 2 or not len(asking):
                continue
            for begin in range(0, len(asking), _BLOCK):
                left = values[asking[begin : begin + _BLOCK]]
                near = np.bitwise_count(left[:, None] ^ values[bucket][None, :]) <= bits
                for row, column in zip(*np.nonzero(near), strict=True):
                    u, v = int(left[row]), int(values[bucket[column]])
                    pairs.add((min(u, v), max(u, v)))
    return pairs
