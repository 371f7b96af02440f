"""Which photographs belong together: those of one car or listing; near-duplicates are found in imaging."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from scipy.cluster.hierarchy import DisjointSet


def join_within(sets: DisjointSet, a: str, b: str, max_size: int) -> bool:
    """Joins the sets of two ids unless the joint set would have more than `max_size` members.

    Returns:
        Whether the two are in one set now.
    """
    if sets.connected(a, b):
        return True
    if sets.subset_size(a) + sets.subset_size(b) > max_size:
        return False
    sets.merge(a, b)
    return True


def sorted_sets(sets: DisjointSet) -> list[list[str]]:
    """The members of each set, sorted; the sets in the order of their smallest member."""
    return sorted(sorted(members) for members in sets.subsets())


def cars(images: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """Groups photographs by car: those that share a group hint, a listing or a source, directly or through others.

    A hint names the same car in every folder. Taking two cars for one costs some variety; taking one car for two
    would let its photographs leak between splits.

    Args:
        images: rows with image_id, group_hint and listing, which may be None or empty, and perhaps `source`: the
            photograph of which this one is an augmented copy.

    Returns:
        The sorted image ids of each car, in the order of the smallest id.
    """
    sets = DisjointSet(row["image_id"] for row in images)
    first: dict[tuple[str, str], str] = {}
    for row in images:
        for kind in ("group_hint", "listing", "source"):
            if value := row.get(kind):
                sets.merge(first.setdefault((kind, value), row["image_id"]), row["image_id"])
    return sorted_sets(sets)
