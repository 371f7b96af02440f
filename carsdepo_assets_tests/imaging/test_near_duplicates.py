"""imaging/near_duplicates.py: photographs that are nearly the same, found without comparing all with all."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.cluster.hierarchy import DisjointSet

from carsdepo_assets.imaging.near_duplicates import near_duplicates, near_pairs
from carsdepo_assets.imaging.perceptual import MIN_CORRELATION, SIDE, correlation


@pytest.mark.parametrize("bits", [0, 1, 4, 9, 64])
def test_near_pairs_are_those_of_comparing_all_with_all(bits: int) -> None:
    random = np.random.default_rng(bits)
    values = [int(v) for v in random.integers(0, 2**63, 60)]
    for value in values[:40]:  # neighbours at 0 to 11 bits
        for flipped in random.choice(64, random.integers(0, 12), replace=False):
            value ^= 1 << int(flipped)
        values.append(value)
    hashes = {f"i{n:03}": f"{v:016x}" for n, v in enumerate(values)}
    fresh = {i for i in hashes if random.random() < 0.4}
    expected = [
        (a, b)
        for a in hashes
        for b in hashes
        if a < b and (a in fresh or b in fresh) and (int(hashes[a], 16) ^ int(hashes[b], 16)).bit_count() <= bits
    ]
    assert list(near_pairs(hashes, fresh, bits)) == expected
    assert expected or bits == 0


def test_nothing_fresh_nothing_to_compare() -> None:
    assert list(near_pairs({}, set(), 4)) == []
    assert list(near_pairs({"a": "0" * 16, "b": "0" * 16}, set(), 4)) == []


def test_a_thousand_plain_photographs_are_linked_without_a_million_pairs() -> None:
    hashes = {f"i{n:04}": "00000000000000ff" for n in range(1000)}
    pairs = list(near_pairs(hashes, set(hashes), 4))
    assert len(pairs) < 70_000
    sets = DisjointSet(hashes)
    for a, b in pairs:
        sets.merge(a, b)
    assert len(sets.subsets()) == 1


def test_near_hashes_of_different_pictures_are_not_duplicates() -> None:
    random = np.random.default_rng(1)
    pictures = {i: random.uniform(0, 255, (SIDE, SIDE)) for i in "ac"}
    pictures["b"] = np.clip(pictures["a"] * 0.8 + random.normal(0, 4, (SIDE, SIDE)), 0, 255)
    asked: list[str] = []

    def thumbnail(image: str) -> np.ndarray:
        asked.append(image)
        return pictures[image]

    hashes = {"a": "0" * 16, "b": "0" * 15 + "1", "c": "0" * 16, "far": "f" * 16}
    assert near_duplicates(hashes, {"a", "b", "c", "far"}, 4, thumbnail) == [("a", "b")]
    assert sorted(asked) == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ([1, 2, 3], [1, 2, 3], 1),
        ([1, 2, 3], [10, 20, 30], 1),
        ([1, 2, 3], [3, 2, 1], -1),
        ([1, 2, 3], [5, 5, 5], 0),
        ([5, 5], [5, 5], 1),
        ([5, 5], [6, 6], 0),
    ],
)
def test_correlation(a: list[float], b: list[float], expected: float) -> None:
    assert correlation(np.array(a), np.array(b)) == pytest.approx(expected)
    assert 0 < MIN_CORRELATION < 1
