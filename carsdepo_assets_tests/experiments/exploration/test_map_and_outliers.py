"""experiments/exploration/feature_space.py, outliers.py, charts.py: the map, and what differs with its reason."""

from __future__ import annotations

import numpy as np
import pytest

from carsdepo_assets.experiments.exploration.charts import MapPoint, map_svg, parts_of
from carsdepo_assets.experiments.exploration.feature_space import distances, map_of, spread_out
from carsdepo_assets.experiments.exploration.outliers import outliers
from carsdepo_assets_tests.experiments.exploration.explored_lake import box, photograph, table, vectors


@pytest.mark.parametrize("n", [0, 1, 2, 3, 5])
def test_few_photographs_have_a_place_too(n: int) -> None:
    places = map_of(vectors(n))
    assert places.shape == (n, 2)
    assert np.isfinite(places).all()
    assert ((places >= 0) & (places <= 1)).all()


def test_equal_photographs_lie_in_the_middle() -> None:
    assert (map_of(np.ones((6, 4), np.float32)) == 0.5).all()


def test_the_same_photographs_give_the_same_map_and_alike_ones_lie_together() -> None:
    two = np.repeat(np.eye(2, 8, dtype=np.float32), 20, axis=0) + 0.01 * vectors(40)
    places = map_of(two)
    assert np.array_equal(places, map_of(two))
    apart = np.linalg.norm(places[:20].mean(0) - places[20:].mean(0))
    assert apart > 2 * np.linalg.norm(places[:20] - places[:20].mean(0), axis=1).mean()


def test_distances_are_those_to_the_nearest() -> None:
    alone = np.vstack([np.repeat(np.eye(1, 4, dtype=np.float32), 8, axis=0), np.eye(1, 4, 2, dtype=np.float32)])
    found = distances(alone)
    assert found[:8] == pytest.approx(np.zeros(8), abs=1e-6)
    assert found[8] == pytest.approx(1)
    assert distances(alone[:1]).tolist() == [0]


def test_pictures_on_the_map_do_not_share_a_cell() -> None:
    places = np.array([[0.1, 0.1], [0.24, 0.26], [0.9, 0.9], [1.0, 1.0]])
    assert spread_out(places, 2, 2) == [1, 2]


def ordinary(n: int) -> list[dict[str, object]]:
    return [
        photograph(f"p{i:02}", group_id=f"g{i}", luma_mean=115.0 + i % 11, boxes=[box(0, 0, 0, 5, 5)] * (1 + i % 3))
        for i in range(n)
    ]


@pytest.mark.parametrize(
    ("odd", "distance", "why"),
    [
        ({"luma_mean": 5.0}, {}, "darker than all others: mean brightness 5, median"),
        ({"luma_mean": 250.0}, {}, "brighter than all others"),
        ({"boxes": [box(0, 0, 0, 1, 1)] * 40}, {}, "40 boxes, median 2"),
        ({"boxes": [box(0, 0, 0, 90, 90)]}, {}, "one box covers 81 % of the photograph"),
        ({}, {"odd": 0.9}, "looks unlike the others: farther from its nearest than all others"),
    ],
)
def test_what_differs_is_found_with_its_reason(odd: dict[str, object], distance: dict[str, float], why: str) -> None:
    rows = [*ordinary(30), photograph("odd", group_id="odd", **({"luma_mean": 120.0, "boxes": []} | odd))]
    far = {f"p{i:02}": 0.1 + 0.001 * (i % 7) for i in range(30)} | distance
    found = outliers(table(rows), far, 6)
    assert [o.index for o in found] == [30]
    assert found[0].reasons[0].startswith(why)


@pytest.mark.parametrize(("lighter", "said"), [(1, "96.8 % of the others"), (2, "93.8 % of the others")])
def test_a_share_is_of_the_others(lighter: int, said: str) -> None:
    rows = [*ordinary(30), photograph("odd", group_id="odd", luma_mean=250.0)]
    rows += [photograph(f"q{i}", group_id=f"q{i}", luma_mean=251.0 + i) for i in range(lighter)]
    (found,) = [o for o in outliers(table(rows), {}, 99) if o.index == 30]
    assert found.reasons[0].startswith(f"brighter than {said}: ")


def test_one_of_a_car_and_not_all_for_the_same_reason() -> None:
    dark = [photograph(f"d{i}", group_id="one car", luma_mean=5.0) for i in range(3)]
    others = [photograph(f"e{i}", group_id=f"e{i}", luma_mean=4.0) for i in range(5)]
    found = outliers(table([*ordinary(60), *dark, *others]), {}, 6)
    assert len(found) == 2
    assert len({o.index for o in found}) == 2


@pytest.mark.parametrize("n", [0, 1, 7])
def test_few_photographs_have_no_ordinary(n: int) -> None:
    rows = [photograph(f"p{i}", luma_mean=float(100 * i)) for i in range(n)]
    assert outliers(table(rows), {}, 6) == []


def test_splits_have_the_colours_of_the_other_charts() -> None:
    points = [MapPoint(str(n), "", 0, 0, part) for n, part in enumerate(["test", "test", "val", "train", "web", "app"])]
    assert parts_of(points) == ["train", "val", "test", "app", "web"]


def test_points_are_links_and_text_is_escaped() -> None:
    evil = "<script>"
    points = [
        MapPoint("ab", evil, 0.5, 0.5, evil),
        MapPoint("c/d", "b", 0, 1, "train", "data:image/jpeg;base64,AA"),
    ]
    svg = str(map_svg(points))
    assert '<a href="/photographs/ab">' in svg
    assert '<a href="/photographs/c%2Fd">' in svg
    assert evil not in svg
    assert svg.count("<image") == 1
