"""data/datasets/splitting.py: a group never crosses splits, no split changes, and what would join two is excluded."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from carsdepo_assets.data.datasets.splitting import EXCLUDED, POOL, SPLITS, assign, side
from carsdepo_assets.policy import DataPolicy, Policy, SplitPolicy
from carsdepo_assets_tests.data.photograph_files import NOW

RULES = Policy(data=DataPolicy(max_group=4))
Rows = dict[str, dict[str, Any]]


def photos(**groups: str | None) -> list[dict[str, Any]]:
    """image=group hint."""
    return [{"image_id": i, "group_hint": g, "listing": None} for i, g in groups.items()]


def stands(**splits: str) -> Rows:
    """image=split/group."""
    return {i: {"image_id": i, "split": s.split("/")[0], "group_id": s.split("/")[1]} for i, s in splits.items()}


def run(
    images: list[dict[str, Any]],
    near: list[tuple[str, str]] | None = None,
    standing: Rows | None = None,
    golden: bool = True,
    policy: Policy = RULES,
) -> Rows:
    return {r["image_id"]: r for r in assign(images, near or [], standing or {}, policy, NOW, golden=golden)}


def splits(rows: Rows) -> dict[str, str]:
    return {i: r["split"] for i, r in rows.items()}


def test_nothing_new_nothing_decided() -> None:
    assert run([]) == {}
    assert run(photos(a="1"), standing=stands(a="train/g")) == {}


@pytest.mark.parametrize(
    ("groups", "filled"), [(1, {"train"}), (2, {"train", "val"}), (3, set(SPLITS)), (4, set(SPLITS)), (30, set(SPLITS))]
)
def test_few_groups_fill_all_splits(groups: int, filled: set[str]) -> None:
    rows = run(photos(**{f"i{n}": f"g{n}" for n in range(groups)}), golden=False)
    assert set(splits(rows).values()) == filled


def test_a_third_group_that_comes_later_is_tested_on() -> None:
    standing = stands(a="train/g1", b="val/g2")
    assert splits(run(photos(a="1", b="2", c="3"), standing=standing, golden=False)) == {"c": "test"}


@pytest.mark.parametrize("seed", range(5))
def test_dealt_shares_are_those_of_the_policy(seed: int) -> None:
    random = np.random.default_rng(seed)
    images = photos(**{f"i{n}.{k}": f"{seed}-{n}" for n in range(120) for k in range(random.integers(1, 7))})
    rows = run(images, golden=False)
    counts = Counter(splits(rows).values())
    assert [counts[s] / len(images) for s in SPLITS] == pytest.approx([0.7, 0.15, 0.15], abs=0.03)
    sizes = Counter(r["group_id"] for r in rows.values())
    means = [np.mean([sizes[g] for g in {r["group_id"] for r in rows.values() if r["split"] == s}]) for s in SPLITS]
    assert max(means) < 2 * min(means)  # no split has the small groups only


def test_one_huge_group_goes_where_it_fits() -> None:
    images = photos(**{f"big{n}": "big" for n in range(50)}, **{f"i{n}": f"g{n}" for n in range(50)})
    rows = run(images, golden=False)
    assert rows["big0"]["split"] == "train"
    assert set(splits(rows).values()) == set(SPLITS)


def test_later_groups_are_hashed_into_train_val_and_the_pool() -> None:
    images = photos(**{f"i{n:04}": f"g{n}" for n in range(2000)})
    rows = run(images)
    counts = Counter(splits(rows).values())
    assert [counts[s] / 2000 for s in ("train", "val", POOL)] == pytest.approx([0.7, 0.15, 0.15], abs=0.03)
    assert run(images[::-1]) == rows
    half = run(images[:1000])
    assert half == {i: rows[i] for i in half}  # a group's place does not depend on the others
    salted = run(images, policy=Policy(split=SplitPolicy(salt="other")))
    assert splits(salted) != splits(rows)


@pytest.mark.parametrize(
    ("standing", "golden", "expected"),
    [
        ("train/g", True, "train"),
        ("val/g", True, "val"),
        ("test/g", False, "test"),
        ("test/g", True, POOL),
        (f"{POOL}/g", True, POOL),
    ],
)
def test_a_known_cars_photograph_joins_it(standing: str, golden: bool, expected: str) -> None:
    rows = run(photos(a="1", b="1"), standing=stands(a=standing), golden=golden)
    assert (rows["b"]["split"], rows["b"]["group_id"]) == (expected, "g")
    near = run(photos(a="1", b="2"), near=[("a", "b")], standing=stands(a=standing), golden=golden)
    assert (near["b"]["split"], near["b"]["group_id"]) == (expected, "g")


def test_what_would_join_two_splits_is_excluded_with_its_reason() -> None:
    standing = stands(a="train/g1", b="val/g2")
    rows = run(photos(a="1", b="2", c="3"), near=[("a", "c"), ("b", "c")], standing=standing)
    assert rows["c"]["split"] == EXCLUDED
    assert rows["c"]["reason"] == "its car has near-duplicates in train and val"
    images = [*photos(a="1", b="2"), {"image_id": "c", "group_hint": "1", "listing": "L"}]
    images[1]["listing"] = "L"
    assert run(images, standing=standing)["c"]["reason"] == "its car or listing is in train and val"


def test_a_known_cars_photograph_that_repeats_another_split_goes_alone() -> None:
    standing = stands(a="train/g1", b="val/g2")
    rows = run(photos(a="1", b="2", c="1", d="1"), near=[("b", "c")], standing=standing)
    assert splits(rows) == {"c": EXCLUDED, "d": "train"}
    assert rows["c"]["reason"] == "near-duplicate of b in val, its group is in train"


def test_an_excluded_photograph_links_nothing() -> None:
    standing = stands(a="train/g1", b="val/g2", c="excluded/g3")
    images = photos(a="1", b="2", c="3", later="1", other="2", third="3")
    rows = run(images, near=[("a", "c"), ("b", "c")], standing=standing)
    assert splits(rows) == {"later": "train", "other": "val", "third": EXCLUDED}


def test_two_new_photographs_that_repeat_each_other_across_splits() -> None:
    standing = stands(a="train/g1", b="val/g2")
    rows = run(photos(a="1", b="2", c="1", d="2"), near=[("c", "d")], standing=standing)
    assert splits(rows) == {"c": "train", "d": EXCLUDED}


def test_a_chain_between_two_splits_is_cut_once() -> None:
    standing = stands(a="train/g1", b="val/g2")
    chain = [("a", "c"), ("c", "d"), ("d", "e"), ("b", "e")]
    rows = run(photos(a="1", b="2", c="3", d="4", e="5"), near=chain, standing=standing)
    assert splits(rows) == {"c": "train", "d": EXCLUDED, "e": "val"}


def test_near_duplicates_chain_no_further_than_the_limit() -> None:
    names = [f"i{n}" for n in range(12)]
    chain = list(pairwise(names))
    rows = run(photos(**dict.fromkeys(names)), near=chain, golden=False)
    assert max(Counter(r["group_id"] for r in rows.values()).values()) <= RULES.data.max_group
    check(rows, {}, chain)


def test_a_group_at_its_limit_takes_no_more_but_keeps_its_split() -> None:
    standing = stands(**{f"s{n}": "val/g" for n in range(4)})
    rows = run(photos(**dict.fromkeys(standing), new=None), near=[("new", "s0")], standing=standing)
    assert (rows["new"]["split"], rows["new"]["group_id"] == "g") == ("val", False)


def check(rows: Rows, standing: Rows, near: list[tuple[str, str]]) -> None:
    """No group and no near-duplicates with a new member on two sides of the wall."""
    everything = {**standing, **rows}
    sides: dict[str, set[str]] = {}
    for row in everything.values():
        if row["split"] != EXCLUDED:
            sides.setdefault(row["group_id"], set()).add(side(row["split"]))
    assert all(len(actual) == 1 for actual in sides.values())
    for a, b in near:
        actual = {side(everything[i]["split"]) for i in (a, b) if everything[i]["split"] != EXCLUDED}
        assert len(actual) <= 1 or (a in standing and b in standing)


@pytest.mark.parametrize("seed", range(40))
def test_whatever_comes_in_whatever_order(seed: int) -> None:
    random = np.random.default_rng(seed)
    images = [
        {
            "image_id": f"i{n:02}",
            "group_hint": f"g{random.integers(25)}" if random.random() < 0.7 else None,
            "listing": f"L{random.integers(25)}" if random.random() < 0.2 else None,
        }
        for n in range(60)
    ]
    near = sorted(
        {
            (min(a, b), max(a, b))
            for a, b in ((f"i{random.integers(60):02}", f"i{random.integers(60):02}") for _ in range(25))
            if a != b
        }
    )
    standing: Rows = {}
    arrived: list[dict[str, Any]] = []
    for start, end in ((0, 5), (5, 30), (30, 31), (31, 60)):
        arrived += images[start:end]
        ids = {r["image_id"] for r in arrived}
        pairs = [(a, b) for a, b in near if a in ids and b in ids]
        golden = any(r["split"] == "test" for r in standing.values())
        rows = run(arrived, pairs, standing, golden)
        shuffled = [arrived[i] for i in random.permutation(len(arrived))]
        assert run(shuffled, pairs[::-1], standing, golden) == rows
        assert set(rows) == ids - set(standing)
        check(rows, standing, pairs)
        standing = {**standing, **rows}
        cars: dict[str, set[str]] = {}
        for row in arrived:
            if row["group_hint"] and standing[row["image_id"]]["split"] != EXCLUDED:
                cars.setdefault(row["group_hint"], set()).add(side(standing[row["image_id"]]["split"]))
        assert all(len(actual) == 1 for actual in cars.values())
