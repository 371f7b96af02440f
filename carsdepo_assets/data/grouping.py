"""Which photographs belong together: of one car, one listing, or nearly the same picture."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from carsdepo_assets.imaging.perceptual import MIN_CORRELATION, correlation

_SAME_HASH = 64  # photographs of one hash that others are compared with: plain pictures share a hash by the thousand
_BLOCK = 1024


class DisjointSets:
    """Union by size, path halving."""

    def __init__(self, items: Collection[str]) -> None:
        self._parent = {i: i for i in items}
        self._size = dict.fromkeys(items, 1)

    def find(self, item: str) -> str:
        while self._parent[item] != item:
            self._parent[item] = self._parent[self._parent[item]]
            item = self._parent[item]
        return item

    def join(self, a: str, b: str, limit: int | None = None) -> bool:
        """False when the joint set would be larger than `limit`, and nothing was joined."""
        a, b = self.find(a), self.find(b)
        if a == b:
            return True
        if limit is not None and self._size[a] + self._size[b] > limit:
            return False
        if (self._size[a], b) < (self._size[b], a):
            a, b = b, a
        self._parent[b] = a
        self._size[a] += self._size[b]
        return True

    def sets(self) -> list[list[str]]:
        """The members of each set, sorted; the sets in the order of their smallest member."""
        members: dict[str, list[str]] = defaultdict(list)
        for item in sorted(self._parent):
            members[self.find(item)].append(item)
        return list(members.values())


def cars(images: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """Image ids that share a group hint or a listing, sorted. images: rows with image_id, group_hint, listing.

    A hint names the same car wherever it stands: to take two cars for one costs some variety, the opposite leaks.
    """
    sets = DisjointSets([row["image_id"] for row in images])
    first: dict[tuple[str, str], str] = {}
    for row in images:
        for kind in ("group_hint", "listing"):
            if row[kind]:
                sets.join(first.setdefault((kind, row[kind]), row["image_id"]), row["image_id"])
    return sets.sets()


def near_duplicates(
    hashes: Mapping[str, str], fresh: Collection[str], bits: int, thumbnail: Callable[[str], np.ndarray]
) -> list[tuple[str, str]]:
    """Sorted pairs of ids, one at least of `fresh`, whose hashes are near and whose thumbnails correlate.

    hashes: id -> 16 hex digits. thumbnail(id): see imaging.perceptual, asked once an id and only for near hashes.
    """
    seen: dict[str, np.ndarray] = {}
    found = []
    for a, b in near_pairs(hashes, fresh, bits):
        for i in (a, b):
            if i not in seen:
                seen[i] = thumbnail(i)
        if correlation(seen[a], seen[b]) >= MIN_CORRELATION:
            found.append((a, b))
    return found


def near_pairs(hashes: Mapping[str, str], fresh: Collection[str], bits: int) -> Iterator[tuple[str, str]]:
    """Pairs of ids, one at least of `fresh`, whose 64-bit hashes differ in at most `bits` bits; each once, sorted.

    Pigeonhole: cut into bits + 1 chunks, two such hashes agree in at least one, so only those that share a chunk are
    compared (Manku, Jain & Das Sarma 2007, section 3). Of photographs with one and the same hash, each meets the first
    64 only (those not fresh first): the rest is linked through these.
    """
    fresh = set(fresh)
    members: dict[int, list[str]] = defaultdict(list)
    for i in sorted(hashes, key=lambda i: (i in fresh, i)):
        members[int(hashes[i], 16)].append(i)
    values = np.array(sorted(members), dtype=np.uint64)
    new = np.array([any(i in fresh for i in members[int(v)]) for v in values], dtype=bool)
    pairs: set[tuple[str, str]] = set()

    def meet(left: Sequence[str], right: Sequence[str]) -> None:
        pairs.update((min(a, b), max(a, b)) for a in left for b in right if a != b and (a in fresh or b in fresh))

    for u, v in _near_values(values, new, bits):
        meet(members[u], members[v][:_SAME_HASH])
        meet(members[v][_SAME_HASH:], members[u][:_SAME_HASH])
    yield from sorted(pairs)


def _near_values(values: np.ndarray, new: np.ndarray, bits: int) -> set[tuple[int, int]]:
    """Pairs (u <= v) of the sorted distinct values, one at least `new`, at most `bits` apart; (u, u) for new ones."""
    found = {(int(v), int(v)) for v in values[new]}
    if not found:
        return found
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
                    found.add((min(u, v), max(u, v)))
    return found
