"""data/datasets/corrected_groups.py: a corrected group excludes what would leak, never a golden photograph, and
nothing else."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from carsdepo_assets.data.datasets.corrected_groups import IN_GOLDEN, regrouped, standing_splits
from carsdepo_assets_tests.data.photograph_files import NOW

LATER = NOW + timedelta(days=9)
Rows = dict[str, dict[str, Any]]


def stands(**splits: str) -> Rows:
    """image=split/group/day."""
    rows: Rows = {}
    for image, text in splits.items():
        split, group, day = (*text.split("/"), "0")[:3]
        at = NOW + timedelta(days=int(day))
        rows[image] = {"image_id": image, "split": split, "group_id": group, "reason": "new group", "assigned_at": at}
    return rows


def photos(**groups: str | None) -> list[dict[str, Any]]:
    return [{"image_id": i, "group_hint": g, "listing": None} for i, g in groups.items()]


@pytest.mark.parametrize(
    ("standing", "golden", "excluded"),
    [
        ({"a": "train/g1", "b": "train/g1"}, "", {}),
        ({"a": "test/g1", "b": "train/g2"}, "a", {"b": IN_GOLDEN}),
        ({"a": "test/g1/5", "b": "train/g2"}, "a", {"b": IN_GOLDEN}),
        ({"a": "test/g1", "b": "val/g2", "c": "train/g3"}, "a", {"b": IN_GOLDEN, "c": IN_GOLDEN}),
        ({"a": "test_pool/g1", "b": "train/g2"}, "a", {"b": IN_GOLDEN}),  # the golden set was extended by it
        ({"a": "test_pool/g1", "b": "train/g2"}, "", {"a": "its car is in train, as its group says now"}),
        ({"a": "test_pool/g1", "b": "train/g2/3"}, "", {"a": "its car is in train, as its group says now"}),
        ({"a": "train/g1", "b": "val/g2/1"}, "", {"b": "its car is in train, as its group says now"}),
        ({"a": "train/g1/1", "b": "val/g2"}, "", {"a": "its car is in val, as its group says now"}),
        ({"a": "train/g1", "b": "val/g2", "c": "val/g2"}, "", {"a": "its car is in val, as its group says now"}),
        ({"a": "train/g1", "b": "val/g2"}, "", {"b": "its car is in train, as its group says now"}),
        ({"a": "train/g1", "b": "excluded/g2"}, "", {}),
        ({"a": "test/g1", "b": "test_pool/g2"}, "a", {}),
    ],
)
def test_one_side_of_a_car_stays(standing: dict[str, str], golden: str, excluded: dict[str, str]) -> None:
    rows = regrouped(photos(**dict.fromkeys(standing, "car")), stands(**standing), set(golden), LATER)
    assert {r["image_id"]: r["reason"] for r in rows if r["split"] == "excluded"} == excluded
    after = standing_splits([*stands(**standing).values(), *rows])
    sides = {r["split"].removesuffix("_pool") for r in after.values() if r["split"] != "excluded"}
    assert len(sides) == 1
    assert regrouped(photos(**dict.fromkeys(standing, "car")), after, set(golden), LATER) == []


def test_two_groups_of_one_split_become_one() -> None:
    standing = stands(a="train/g1", b="train/g2", c="train/g3")
    rows = regrouped(photos(a="x", b="x", c="y"), standing, (), LATER)
    assert [(r["image_id"], r["split"], r["group_id"]) for r in rows] == [("b", "train", "g1")]
    assert standing_splits([*standing.values(), *rows])["b"]["group_id"] == "g1"


def test_what_is_excluded_joins_nobody() -> None:
    """b is of both cars, and was excluded for it: the two cars remain two."""
    images = [
        {"image_id": "a", "group_hint": "1", "listing": None},
        {"image_id": "b", "group_hint": "1", "listing": "L"},
        {"image_id": "c", "group_hint": "2", "listing": "L"},
    ]
    assert regrouped(images, stands(a="train/g1", b="excluded/g1", c="val/g2"), (), LATER) == []


def test_photographs_without_a_split_are_left_to_their_assignment() -> None:
    assert regrouped(photos(a="x", b="x"), stands(a="train/g1"), (), LATER) == []


def test_copies_of_one_source_are_one_car() -> None:
    images = [{"image_id": i, "group_hint": None, "listing": None, "source": "rf/a"} for i in "ab"]
    rows = regrouped(images, stands(a="test/g1", b="train/g2"), "a", LATER)
    assert [(r["image_id"], r["split"]) for r in rows] == [("b", "excluded")]


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (["train/g1/0", "excluded/g1/1"], "excluded/g1"),
        (["train/g1/0", "excluded/g1/1", "train/g1/2"], "excluded/g1"),
        (["train/g1/1", "val/g1/2"], "train/g1"),  # two builders met: the first counts
        (["train/g2/1", "train/g1/2"], "train/g1"),
    ],
)
@pytest.mark.parametrize("turned", [False, True])
def test_which_row_of_a_photograph_counts(rows: list[str], expected: str, turned: bool) -> None:
    all_rows = [stands(a=text)["a"] for text in rows]
    counted = standing_splits(all_rows[::-1] if turned else all_rows)["a"]
    assert f"{counted['split']}/{counted['group_id']}" == expected
