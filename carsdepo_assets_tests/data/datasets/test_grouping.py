"""data/datasets/grouping.py: cars, by group hint and listing; sets that grow no further than their limit."""

from __future__ import annotations

import pytest
from scipy.cluster.hierarchy import DisjointSet

from carsdepo_assets.data.datasets.grouping import (
    cars,
    join_within,
    sorted_sets,
)


def row(image: str, hint: str | None = None, listing: str | None = None) -> dict[str, str | None]:
    return {"image_id": image, "group_hint": hint, "listing": listing}


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([], []),
        ([row("a"), row("b")], [["a"], ["b"]]),
        ([row("a", ""), row("b", "")], [["a"], ["b"]]),
        ([row("b", "g1"), row("a", "g1"), row("c", "g2")], [["a", "b"], ["c"]]),
        ([row("a", "g1"), row("b", "g1", "L"), row("c", None, "L")], [["a", "b", "c"]]),
        ([row("a", "same"), row("b", None, "same")], [["a"], ["b"]]),  # a listing is no group of that name
    ],
)
def test_cars(rows: list[dict[str, str | None]], expected: list[list[str]]) -> None:
    assert cars(rows) == expected


def test_sets_stop_at_their_limit() -> None:
    sets = DisjointSet("abcd")
    assert join_within(sets, "a", "b", 2)
    assert join_within(sets, "b", "a", 2)
    assert not join_within(sets, "b", "c", 2)
    assert join_within(sets, "d", "c", 2)
    assert sorted_sets(sets) == [["a", "b"], ["c", "d"]]
