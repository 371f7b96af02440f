"""data/batches/closing.py, data/batches/batches.py: batches of files that come without a pause, and of many at once."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from carsdepo_assets.data.batches import batches
from carsdepo_assets.data.batches.closing import due_parts
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.policy import DataPolicy, Policy

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
RULES = DataPolicy(batch_max_images=4, batch_max_age_s=20, batch_max_wait_s=100)


@pytest.mark.parametrize(
    ("ages", "parts"),
    [
        ([], []),
        ([99, 50, 1], []),  # they keep coming, and the oldest has not waited long
        ([100, 50, 1], [(0, 3)]),  # the oldest has waited long enough
        ([50, 20], [(0, 2)]),  # the newest is old
        ([300, 200, 150, 120, 1], [(0, 4)]),  # full; the fifth is young
        ([300, 200, 150, 120, 101, 1], [(0, 4), (4, 6)]),
        ([101, -5], [(0, 2)]),  # a file from the future holds nothing back
        ([30, -5], [(0, 2)]),
        ([5, -5], []),
        ([-5, -6], [(0, 2)]),
    ],
)
def test_a_batch_closes_by_number_by_its_newest_and_by_its_oldest_file(
    ages: list[int], parts: list[tuple[int, int]]
) -> None:
    times = [NOW - timedelta(seconds=age) for age in ages]
    assert list(due_parts(times, RULES, NOW)) == parts


def drop(lake: Lake, kind: str, name: str, age_s: float) -> None:
    key = f"raw/{kind}/web/{name}"
    lake.put(key, name.encode())
    at = (NOW - timedelta(seconds=age_s)).timestamp()
    os.utime(Path(lake.root or "", key), (at, at))


def planned(lake: Lake, kind: batches.Kind, **rules: float) -> list[list[str]]:
    """The files of each batch that one look closes."""
    policy = Policy(data=RULES.model_copy(update=rules))
    closed = batches.plan_batches(lake, kind, policy, NOW)
    return [[o.key.rpartition("/")[2] for o in manifest.objects] for manifest in closed]


@pytest.mark.parametrize("reconcile_s", [0, 10**6])
def test_one_look_takes_some_of_many_files_and_the_next_ones_take_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reconcile_s: float
) -> None:
    monkeypatch.setitem(batches.FILES_A_TICK, "uploads", 5)
    lake = Lake.open(tmp_path)
    for number in range(12):
        drop(lake, "uploads", f"{number:02d}.jpg", 1000 - number)
    looks = [planned(lake, "uploads", reconcile_s=reconcile_s, batch_max_images=5) for _ in range(4)]
    assert [[name for part in look for name in part] for look in looks[:3]] == [
        [f"{number:02d}.jpg" for number in numbers] for numbers in (range(5), range(5, 10), range(10, 12))
    ]
    assert looks[3] == []


def test_files_that_wait_take_no_place_of_new_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Labels whose photographs are not there yet are the oldest at each look, and no later label is kept waiting."""
    monkeypatch.setitem(batches.FILES_A_TICK, "labels", 2)
    lake = Lake.open(tmp_path)
    for name, age_s in (("a.txt", 900), ("b.txt", 800), ("c.txt", 700), ("d.json", 600)):
        drop(lake, "labels", name, age_s)
    looks = [planned(lake, "labels", label_wait_s=3600, reconcile_s=0) for _ in range(3)]
    assert looks == [[], [["d.json"]], []]


def test_everything_is_closed_at_once_where_an_import_asks_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(batches.FILES_A_TICK, "uploads", 2)
    lake = Lake.open(tmp_path)
    for number in range(6):
        drop(lake, "uploads", f"{number}.jpg", 1)
    closed = batches.plan_batches(lake, "uploads", Policy(data=RULES), NOW, close_all=True)
    assert [len(manifest.objects) for manifest in closed] == [4, 2]
