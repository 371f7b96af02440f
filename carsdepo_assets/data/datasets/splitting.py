"""Assigns photographs to splits: as their import declares them, else by their group; once.

A group is a car (group hint or listing) together with the cars of which photographs are near-duplicates of its own.
`test` and `test_pool` count as one side: what joins a test group after the golden set was closed waits in the pool.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from scipy.cluster.hierarchy import DisjointSet

from carsdepo_assets.data.datasets.grouping import cars, join_within, sorted_sets
from carsdepo_assets.policy import Policy, SplitPolicy

Row = dict[str, Any]
SPLITS = ("train", "val", "test")
POOL = "test_pool"  # held out since the golden set was closed
_FEWEST = ("test", "val", "train")  # where two declared splits meet, the one of fewer photographs keeps its own
EXCLUDED = "excluded"


def assign(
    images: Sequence[Mapping[str, Any]],
    near: Sequence[tuple[str, str]],
    standing: Mapping[str, Row],
    policy: Policy,
    now: datetime,
    *,
    golden: bool,
    declared: Mapping[str, str] | None = None,
) -> list[Row]:
    """Assigns a split to the photographs that have none yet.

    A photograph whose import declares its split gets that one, with the rest of its car, or none: where its car or a
    near-duplicate is on another side, it is excluded. All others are dealt:

    Until the golden set is closed new groups are dealt: large ones first, the rest in hashed order, each to the split
    that lacks most of its share, so that three groups fill all three splits. Later groups are assigned by hash alone.
    A car with a split keeps it; photographs that would join two splits are excluded, and link nothing.

    Args:
        images: rows with image_id, group_hint, listing and perhaps source (see grouping.cars), of all photographs.
        near: pairs of ids of verified near-duplicates.
        standing: the existing rows of SPLITS by image_id.
        policy: the sections `split` and `data` are used.
        now: stored as the time of assignment.
        golden: whether the golden set is closed.
        declared: train, val or test by image id, for the photographs whose import says it.

    Returns:
        New rows of SPLITS, sorted by image_id.
    """
    deciding = _Deciding(near, standing, declared or {}, policy.data.max_group, golden, now)
    new_cars = [car for car in cars(images) if any(i not in standing for i in car) and not deciding.settle(car)]
    open_cars = deciding.declare(new_cars)
    deciding.exclude_crossing()
    new = deciding.join(deciding.follow(open_cars))
    splits = _dealt(new, deciding.filled(), policy.split) if not golden else _hashed(new, policy.split)
    for group, members in new.items():
        deciding.decide(members, splits[group], group, "new group")
    deciding.exclude_crossing()
    return deciding.rows()


def side(split: str) -> str:
    """The side that a split is on: train, val or test; the test pool is on the side of test."""
    return "test" if split == POOL else split


class _Deciding:
    """What stands and what this call decides; excluded photographs are in `fresh` only."""

    def __init__(
        self,
        near: Sequence[tuple[str, str]],
        standing: Mapping[str, Row],
        declared: Mapping[str, str],
        limit: int,
        golden: bool,
        now: datetime,
    ) -> None:
        self._near, self._limit, self._golden, self._now = sorted(near), limit, golden, now
        self._standing, self._declared = standing, declared
        self._fresh: dict[str, Row] = {}
        self._split = {i: r["split"] for i, r in standing.items() if r["split"] != EXCLUDED}
        self._group = {i: r["group_id"] for i, r in standing.items() if r["split"] != EXCLUDED}
        self._sizes = Counter(self._group.values())
        self._neighbours: dict[str, list[str]] = defaultdict(list)
        for a, b in self._near:
            self._neighbours[a].append(b)
            self._neighbours[b].append(a)

    def decide(self, members: Iterable[str], split: str, group: str, reason: str) -> None:
        """For those of `members` that have no split yet. What comes to the golden set's side waits in the pool."""
        if split == "test" and self._golden:
            split, reason = POOL, f"{reason}; the golden set is closed"
        for i in members:
            if i in self._standing:
                continue
            self._fresh[i] = {
                "image_id": i,
                "group_id": group,
                "split": split,
                "reason": reason,
                "assigned_at": self._now,
                "declared": self._declared.get(i),
            }
            if split != EXCLUDED:
                self._split[i], self._group[i] = split, group
                self._sizes[group] += 1

    def settle(self, car: Sequence[str]) -> bool:
        """Assigns the new photographs of a car that has rows already; False for a new car."""
        standing = [i for i in car if i in self._standing]
        if not standing:
            return False
        counted = [i for i in standing if i in self._split]
        sides = sorted({side(self._split[i]) for i in counted})
        if len(sides) == 1:
            group = min(self._group[i] for i in counted)
            for i in car:
                if i not in self._standing and self._declared.get(i, sides[0]) != sides[0]:
                    why = f"declared {self._declared[i]}, and its car or listing is in {sides[0]}"
                    self.decide([i], EXCLUDED, group, why)
            follows = [i for i in car if self._declared.get(i, sides[0]) == sides[0]]
            self.decide(follows, sides[0], group, "its car or listing is there")
        else:
            why = f"its car or listing is in {' and '.join(sides)}" if sides else "its car or listing is excluded"
            self.decide(car, EXCLUDED, min(self._standing[i]["group_id"] for i in standing), why)
        return True

    def declare(self, open_cars: Sequence[Sequence[str]]) -> list[Sequence[str]]:
        """Decides the new cars with a declared split, and gives back the others.

        Of a car that is declared in two, the one with most of its photographs counts, and the others are excluded.
        """
        by_split: dict[str, list[list[str]]] = {split: [] for split in _FEWEST}
        rest = []
        for car in open_cars:
            counts = Counter(self._declared[i] for i in car if i in self._declared)
            if not counts:
                rest.append(car)
                continue
            split = max(_FEWEST, key=lambda s: counts[s])  # of as many the first
            for i in car:
                if self._declared.get(i, split) != split:
                    why = f"declared {self._declared[i]}, and its car or listing is declared {split} too"
                    self.decide([i], EXCLUDED, group_id(car), why)
            by_split[split].append([i for i in car if self._declared.get(i, split) == split])
        for split, declared_cars in by_split.items():
            for group, members in self.join(declared_cars).items():
                there = {self._group[n] for i in members for n in self._neighbours[i] if self._is_on(n, split)}
                near = min(there, default=group)
                fits = self._sizes[near] + len(members) <= self._limit
                self.decide(members, split, near if fits else group, "declared by its import")
        return rest

    def _is_on(self, image_id: str, split: str) -> bool:
        return image_id in self._split and side(self._split[image_id]) == split

    def follow(self, open_cars: Sequence[Sequence[str]]) -> list[Sequence[str]]:
        """Decides the new cars that repeat a decided one, then those that repeat these, and so on; gives back the rest.

        A car that repeats two sides at once is excluded.
        """
        owner = {i: number for number, car in enumerate(open_cars) for i in car}
        waiting = set(range(len(open_cars)))
        asked = set(waiting)
        while asked:
            touched_by_car = {
                number: sorted({n for i in open_cars[number] for n in self._neighbours[i] if n in self._split})
                for number in sorted(asked)
            }
            touched_by_car = {number: touched for number, touched in touched_by_car.items() if touched}
            for number, touched in touched_by_car.items():
                self._repeat(open_cars[number], touched)
            waiting -= touched_by_car.keys()
            self.exclude_crossing()
            decided = [i for number in touched_by_car for i in open_cars[number] if i in self._split]
            asked = {owner[n] for i in decided for n in self._neighbours[i] if n in owner} & waiting
        return [open_cars[number] for number in sorted(waiting)]

    def _repeat(self, car: Sequence[str], touched: Sequence[str]) -> None:
        sides = sorted({side(self._split[n]) for n in touched})
        if len(sides) > 1:
            self.decide(car, EXCLUDED, group_id(car), f"its car has near-duplicates in {' and '.join(sides)}")
            return
        group = min(self._group[n] for n in touched)
        fits = self._sizes[group] + len(car) <= self._limit
        self.decide(car, sides[0], group if fits else group_id(car), "near-duplicates of its car are there")

    def join(self, new_cars: Sequence[Sequence[str]]) -> dict[str, list[str]]:
        """{group id: members} of cars that repeat nothing decided, joined where they repeat each other."""
        sets = DisjointSet(i for car in new_cars for i in car)
        among = {i for car in new_cars for i in car}
        for car in new_cars:
            for i in car[1:]:
                sets.merge(car[0], i)
        for a, b in self._near:
            if a in among and b in among:
                join_within(sets, a, b, self._limit)
        return {group_id(members): members for members in sorted_sets(sets)}

    def exclude_crossing(self) -> None:
        """No new photograph is a near-duplicate of one on another side.

        Of two new ones the one whose split is not declared gives way, of two declared ones the one whose split has more
        photographs as a rule (train before val before test), and of two others the later id.
        """
        for a, b in self._near:
            if a not in self._split or b not in self._split or side(self._split[a]) == side(self._split[b]):
                continue
            loser, other = (b, a) if self._gives_way(b, a) else (a, b)
            if loser not in self._fresh:
                continue  # both stand, and nothing that stands changes
            reason = f"near-duplicate of {other[:12]} in {self._split[other]}, its group is in {self._split[loser]}"
            self._fresh[loser] |= {"split": EXCLUDED, "reason": reason}
            self._sizes[self._group.pop(loser)] -= 1
            del self._split[loser]

    def _gives_way(self, later: str, earlier: str) -> bool:
        if later not in self._fresh or earlier not in self._fresh:
            return later in self._fresh

        def hold(image_id: str) -> tuple[bool, int]:
            split = self._declared.get(image_id)
            return split is not None, 0 if split is None else -_FEWEST.index(split)

        return hold(later) <= hold(earlier)

    def filled(self) -> Counter[str]:
        return Counter(side(s) for s in self._split.values())

    def rows(self) -> list[Row]:
        return [self._fresh[i] for i in sorted(self._fresh)]


def group_id(members: Sequence[str]) -> str:
    """The id of a new group, derived from its smallest member and thus independent of their order; it is kept later."""
    return "g" + hashlib.sha256(min(members).encode()).hexdigest()[:12]


def _place(group: str, policy: SplitPolicy) -> float:
    """0 <= place < 1, even over groups."""
    return int.from_bytes(hashlib.sha256(f"{policy.salt}:{group}".encode()).digest()[:6], "big") / 2**48


def _hashed(groups: Iterable[str], policy: SplitPolicy) -> dict[str, str]:
    def split(place: float) -> str:
        if place < policy.train:
            return "train"
        return "val" if place < policy.train + policy.val else "test"

    return {group: split(_place(group, policy)) for group in groups}


def _dealt(members: Mapping[str, Sequence[str]], filled: Counter[str], policy: SplitPolicy) -> dict[str, str]:
    """filled: photographs that each split has already."""
    shares = {"train": policy.train, "val": policy.val, "test": max(0.0, 1 - policy.train - policy.val)}
    total = filled.total() + sum(map(len, members.values()))
    small = min(shares.values()) * total

    def turn(group: str) -> tuple[int, float]:
        # A group that alone overfills the smallest split goes first, to the split with most room; the order of the
        # others says nothing of their size, so that no split has the small groups only.
        size = len(members[group])
        return (-size if size > small else 0), _place(group, policy)

    order = sorted(members, key=turn)
    dealt: dict[str, str] = {}
    for position, group in enumerate(order):
        empty = [s for s in SPLITS if filled[s] == 0]
        if empty and len(order) - position <= len(empty):
            split = empty[0]
        else:
            split = max(SPLITS, key=lambda s: shares[s] * total - filled[s])
        dealt[group] = split
        filled[split] += len(members[group])
    return dealt
