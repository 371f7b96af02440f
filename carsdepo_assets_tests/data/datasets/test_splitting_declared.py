"""data/datasets/splitting.py: a declared split is kept, or the photograph is excluded, and the rest is dealt around
it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from carsdepo_assets.data.datasets.splitting import EXCLUDED, POOL, SPLITS, assign, side
from carsdepo_assets_tests.data.datasets.test_splitting import RULES, Rows, check, photos, splits, stands
from carsdepo_assets_tests.data.photograph_files import NOW


def run(
    images: list[dict[str, Any]],
    declared: dict[str, str],
    near: list[tuple[str, str]] | None = None,
    standing: Rows | None = None,
    golden: bool = False,
) -> Rows:
    rows = assign(images, near or [], standing or {}, RULES, NOW, golden=golden, declared=declared)
    return {r["image_id"]: r for r in rows}


THREE = {"a": "train", "b": "val", "c": "test"}


def test_what_is_declared_is_kept_and_said() -> None:
    rows = run(photos(a="1", b="2", c="3"), THREE)
    assert splits(rows) == THREE
    assert {(r["reason"], r["declared"]) for r in rows.values()} == {("declared by its import", s) for s in SPLITS}


def test_what_is_declared_for_testing_waits_where_the_golden_set_is_closed() -> None:
    assert splits(run(photos(a="1", b="2", c="3"), THREE, golden=True)) == THREE | {"c": POOL}


def test_no_split_is_made_up_for_an_export_without_one() -> None:
    images = photos(**{f"i{n}": f"g{n}" for n in range(20)})
    declared = {row["image_id"]: "train" if n % 2 else "val" for n, row in enumerate(images)}
    assert splits(run(images, declared)) == declared


def test_the_rest_of_a_car_follows_and_other_photographs_are_dealt_around() -> None:
    images = photos(a="1", b="2", c="3", d="1", **{f"i{n}": f"g{n}" for n in range(9)})
    rows = run(images, {"a": "test", "b": "train"})
    assert splits(rows)["d"] == "test"
    assert set(splits(rows).values()) == set(SPLITS)


@pytest.mark.parametrize(
    ("near", "declared", "standing", "expected"),
    [
        # Near-duplicates of two declared splits: test stays, then val.
        ([("a", "b")], {"a": "train", "b": "test"}, {}, {"a": EXCLUDED, "b": "test"}),
        ([("a", "b")], {"a": "test", "b": "train"}, {}, {"a": "test", "b": EXCLUDED}),
        ([("a", "b")], {"a": "val", "b": "train"}, {}, {"a": "val", "b": EXCLUDED}),
        ([("a", "b")], {"a": "val", "b": "test"}, {}, {"a": EXCLUDED, "b": "test"}),
        ([("a", "b")], {"a": "train", "b": "train"}, {}, {"a": "train", "b": "train"}),
        # One of them has its split already: what stands stays.
        ([("a", "b")], {"b": "test"}, {"a": "train/g"}, {"b": EXCLUDED}),
        ([("a", "b")], {"b": "train"}, {"a": "test/g"}, {"b": EXCLUDED}),
        ([("a", "b")], {"b": "train"}, {"a": "train/g"}, {"b": "train"}),
        # One is not declared: it follows the one that is, and gives way where that leaks.
        ([("a", "b")], {"b": "val"}, {}, {"a": "val", "b": "val"}),
        ([("a", "b"), ("b", "c")], {"a": "train", "c": "test"}, {}, {"a": "train", "b": EXCLUDED, "c": "test"}),
    ],
)
def test_near_duplicates_of_declared_photographs(
    near: list[tuple[str, str]], declared: dict[str, str], standing: dict[str, str], expected: dict[str, str]
) -> None:
    images = photos(**dict.fromkeys([*declared, *standing, *expected]))
    rows = run(images, declared, near, stands(**standing), golden=False)
    assert splits(rows) == expected
    check(rows, stands(**standing), near)


def test_near_duplicates_of_one_declared_split_are_one_group() -> None:
    rows = run(
        photos(a="1", b="2", c="3"), dict.fromkeys("abc", "train"), [("a", "b"), ("c", "s")], stands(s="train/g")
    )
    assert rows["a"]["group_id"] == rows["b"]["group_id"] != rows["c"]["group_id"] == "g"


@pytest.mark.parametrize(
    ("declared", "standing", "expected", "reason"),
    [
        ({"b": "val"}, {"a": "train/g"}, EXCLUDED, "declared val, and its car or listing is in train"),
        ({"b": "test"}, {"a": f"{POOL}/g"}, "test", "its car or listing is there"),
        ({"a": "train", "b": "test"}, {}, "test", "declared by its import"),
        ({"a": "train", "b": "test", "c": "train"}, {}, EXCLUDED, "declared test, and its car or listing is declared"),
    ],
)
def test_a_car_that_is_declared_in_two_splits(
    declared: dict[str, str], standing: dict[str, str], expected: str, reason: str
) -> None:
    rows = run(photos(**dict.fromkeys([*declared, *standing], "car")), declared, standing=stands(**standing))
    assert rows["b"]["split"] == expected
    assert rows["b"]["reason"].startswith(reason)
    assert len({r["split"] for r in rows.values()} - {EXCLUDED}) <= 1


@pytest.mark.parametrize("seed", range(20))
def test_whatever_is_declared_nothing_leaks_and_nothing_declared_moves(seed: int) -> None:
    random = np.random.default_rng(seed)
    names = [f"i{n:02}" for n in range(50)]
    images = photos(**{name: f"g{random.integers(25)}" if random.random() < 0.6 else None for name in names})
    declared = {name: str(random.choice(SPLITS, p=(0.6, 0.2, 0.2))) for name in names if random.random() < 0.5}
    near = sorted({tuple(sorted(random.choice(names, 2, replace=False).tolist())) for _ in range(20)})
    pairs = [(str(a), str(b)) for a, b in near]
    standing: Rows = {}
    for end in (20, 50):
        ids = set(names[:end])
        golden = any(r["split"] == "test" for r in standing.values())
        arrived, linked = images[:end], [(a, b) for a, b in pairs if a in ids and b in ids]
        rows = run(arrived, declared, linked, standing, golden)
        shuffled = [arrived[i] for i in random.permutation(end)]
        assert run(shuffled, declared, linked[::-1], standing, golden) == rows
        assert set(rows) == ids - set(standing)
        check(rows, standing, linked)
        for image_id, row in rows.items():
            if image_id in declared and row["split"] != EXCLUDED:
                assert side(row["split"]) == declared[image_id]
        standing = {**standing, **rows}
        cars: dict[str, set[str]] = {}
        for row in arrived:
            if row["group_hint"] and standing[row["image_id"]]["split"] != EXCLUDED:
                cars.setdefault(row["group_hint"], set()).add(side(standing[row["image_id"]]["split"]))
        assert all(len(actual) == 1 for actual in cars.values())
