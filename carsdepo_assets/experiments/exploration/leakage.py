"""Whether splits leak: cars and near-duplicates on two sides. All photographs are looked at, none is sampled."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from carsdepo_assets.imaging.near_duplicates import near_duplicates
from carsdepo_assets.imaging.perceptual import SIDE
from carsdepo_assets.lake.lake import Lake

_SIDE = "case split when 'test_pool' then 'test' else split end"  # what waits for the golden set is on its side


@dataclass(frozen=True)
class CrossingGroup:
    """A car of which photographs are on two sides."""

    group_id: str
    sides: tuple[str, ...]
    photographs: int


@dataclass(frozen=True)
class NearPair:
    """Two photographs that are nearly the same picture."""

    first: str
    second: str
    """Their image ids."""
    first_side: str | None
    second_side: str | None
    """train, val or test; None: in no split."""
    same_group: bool

    @property
    def crosses(self) -> bool:
        """Whether a model could have seen one of them before it is judged on the other."""
        return None not in (self.first_side, self.second_side) and self.first_side != self.second_side


@dataclass(frozen=True)
class Leakage:
    """What was looked for and what was found."""

    photographs: int
    """In train, val or test, between which nothing may leak."""
    hashed: int
    """Photographs whose perceptual hash was held against all others."""
    groups: int
    """Cars that were looked at."""
    crossing_groups: tuple[CrossingGroup, ...]
    pairs: tuple[NearPair, ...]
    """All near-duplicates, within a split, too."""
    bits: int
    """Hashes that differ in at most so many bits were compared by their pixels."""
    unread: int = 0
    """Photographs with a near hash whose pixels could not be read, so that nothing is known of their pairs."""

    @property
    def crossing_pairs(self) -> tuple[NearPair, ...]:
        """The near-duplicates on two sides."""
        return tuple(pair for pair in self.pairs if pair.crosses)

    @property
    def count(self) -> int:
        """Cars and pairs that leak. 0 is a proof for cars, and for pairs of the photographs that were read."""
        return len(self.crossing_groups) + len(self.crossing_pairs)


def look_for_leakage(
    lake: Lake, photographs: pa.Table, bits: int, thumbnail: Callable[[str], NDArray[Any] | None]
) -> Leakage:
    """Looks for cars on two sides, and for near-duplicates among all photographs.

    Photographs that are excluded from all splits are trained on by nobody and judge nobody: they leak nothing. Of many
    plain photographs with one and the same hash each is held against 64 of them, see imaging.near_duplicates.

    Args:
        lake: whose DuckDB is used.
        photographs: rows of `selection.PHOTOGRAPHS`.
        bits: near hashes differ in at most so many of 64 bits (policy.data.duplicate_hamming).
        thumbnail: the grey thumbnail of a photograph by its id, None where it cannot be read; called for near hashes
            only.
    """
    facts = photographs.select(["image_id", "split", "group_id", "phash"])
    sides = lake.query(
        f"select image_id, group_id, phash, case when split in ('train', 'val', 'test', 'test_pool') then {_SIDE} end "
        "side from p", p=facts,
    )  # fmt: skip
    crossing = lake.query(
        "select group_id, list(distinct side order by side) sides, count(*) n from s where side is not null and "
        "group_id is not null group by 1 having count(distinct side) > 1 order by n desc, group_id",
        s=sides,
    ).to_pylist()
    counts = lake.query(
        "select count(side) photographs, count(distinct group_id) filter (where side is not null) g from s", s=sides
    ).to_pylist()[0]
    rows = {row["image_id"]: row for row in sides.to_pylist()}
    hashes = {image: row["phash"] for image, row in rows.items() if row["phash"]}
    pairs, unread = [], set[str]()

    def read(image_id: str) -> NDArray[Any]:
        grey = thumbnail(image_id)
        if grey is None:
            unread.add(image_id)
            return np.full((SIDE, SIDE), np.nan)  # correlates with nothing
        return grey

    for a, b in near_duplicates(hashes, hashes, bits, read):
        one, other = rows[a], rows[b]
        same = one["group_id"] is not None and one["group_id"] == other["group_id"]
        pairs.append(NearPair(a, b, one["side"], other["side"], same))
    return Leakage(
        photographs=counts["photographs"],
        hashed=len(hashes),
        groups=counts["g"],
        crossing_groups=tuple(CrossingGroup(r["group_id"], tuple(r["sides"]), r["n"]) for r in crossing),
        pairs=tuple(pairs),
        bits=bits,
        unread=len(unread),
    )
