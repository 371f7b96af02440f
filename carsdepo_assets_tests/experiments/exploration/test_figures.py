"""experiments/exploration/aggregates.py, leakage.py, findings.py: what is counted, and what is said of it."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from carsdepo_assets.experiments.exploration.aggregates import (
    ASPECT_EDGES,
    GRID,
    SIDE_EDGES,
    ClassCount,
    Explored,
    SplitPart,
    coverage,
)
from carsdepo_assets.experiments.exploration.charts import grouped_bars
from carsdepo_assets.experiments.exploration.findings import findings
from carsdepo_assets.experiments.exploration.leakage import Leakage, look_for_leakage
from carsdepo_assets.experiments.exploration.outliers import outliers
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets_tests.experiments.exploration.explored_lake import Row, box, photograph, table

NAMES = ("scratch", "dent")
SOUND = Leakage(10, 10, 10, (), (), 4)


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake.open(tmp_path / "lake")


def explored(lake: Lake, rows: list[Row], of: str = "boxes") -> Explored:
    return Explored(lake, table(rows), NAMES, of)


def test_classes_boxes_and_sizes_are_counted(lake: Lake) -> None:
    rows = [
        photograph("a", group_id="g1", boxes=[box(0, 0, 0, 10, 10), box(0, 0, 0, 50, 50)]),
        photograph("b", group_id="g1", boxes=[box(0, 0, 0, 40, 10)]),
        photograph("c", group_id="g2", boxes=[]),
        photograph("d", group_id="g3"),
        photograph("e", group_id="g4", boxes=[box(7, 0, 0, 20, 20)]),
    ]
    found = explored(lake, rows)
    assert [(c.name, c.boxes, c.photographs, c.groups) for c in found.classes()] == [
        ("scratch", 3, 2, 1),
        ("dent", 0, 0, 0),
        ("class 7", 1, 1, 1),
    ]
    assert found.classes()[0].median_side == pytest.approx(0.2)
    assert found.boxes_a_photograph() == {"0": 1, "1": 2, "2": 1}
    assert found.by_class("side", SIDE_EDGES) == {"scratch": [0, 0, 0, 1, 1, 1], "class 7": [0, 0, 0, 0, 1, 0]}
    assert found.by_class("aspect", ASPECT_EDGES)["scratch"] == [0, 0, 0, 2, 0, 0, 1]


def test_boxes_that_make_no_sense_are_left_out_and_said(lake: Lake) -> None:
    nan, inf = float("nan"), float("inf")
    odd = [box(0, nan, 0, 9, 9), box(0, 0, 0, inf, 9), box(0, 50, 50, 9, 9), box(0, 9, 9, 9, 20)]
    rows = [
        photograph("a", boxes=[box(1, 0, 0, 10, 10), *odd]),
        photograph("b", boxes=[box(0, 0, 0, 9, 9)], width=None, height=None),  # it is not in `images` any more
        photograph("c", boxes=[box(0, 0, 0, 9, 9)], width=0, height=0),
        photograph("d"),
        *[photograph(f"e{n}", boxes=[]) for n in range(8)],
    ]
    found = explored(lake, rows)
    assert (found.boxes.num_rows, found.senseless) == (1, 6)
    assert list(found.positions()) == ["dent"]
    assert not [o for o in outliers(table(rows), {}, 9) if o.kind == "large"]
    said = findings(11, 10, found.classes(), [], SOUND, [], found.senseless)
    assert ("bad", "6 boxes make no sense, without a size or on a photograph without one.") in [
        (f.severity, f.text) for f in said
    ]
    assert explored(lake, [photograph("a")]).senseless == 0


@pytest.mark.filterwarnings("ignore:Glyph")
def test_names_with_signs_of_mathematics_or_of_control_are_drawn() -> None:
    """A chart whose SVG holds a control character is not shown by a browser at all."""
    svg = grouped_bars({"a$b$": [1], "\x0c\ufffe": [2], "_new": [1]}, [r"$\frac{$ & <b>"], "$n$")
    assert b"_new" in svg
    assert [e.text for e in ElementTree.fromstring(svg).iter() if e.text and "frac" in e.text] == [r"$\frac{$ & <b>"]


def test_sources_of_odd_names_have_their_histogram(lake: Lake) -> None:
    """numpy drops zeros at the end of a text, and gives each of a million names the room of the longest."""
    names = ["web\x00", "web", "x" * 10_000, "_"]
    rows = [photograph(str(n), source=name, luma_mean=10.0 + n) for n, name in enumerate(names)]
    shares = explored(lake, rows).histogram("luma_mean", "source", [0, 128, 255])
    assert shares == {name: [1.0, 0.0] for name in names}


def test_many_boxes_are_counted_together(lake: Lake) -> None:
    rows = [photograph("a", boxes=[box(0, 0, 0, 1, 1)] * 30), photograph("b", boxes=[box(0, 0, 0, 1, 1)] * 10)]
    assert explored(lake, rows).boxes_a_photograph() == {**{str(n): 0 for n in range(10)}, "10+": 2}


@pytest.mark.parametrize(
    ("corners", "covered"),
    [
        ((0, 0, 1, 1), GRID[0] * GRID[1]),
        ((0, 0, 1 / GRID[0], 1 / GRID[1]), 1),
        ((0.5, 0.5, 0.5, 0.5), 1),  # a box without an area still is somewhere
        ((1, 1, 1, 1), 1),
    ],
)
def test_a_box_covers_its_cells(corners: tuple[float, ...], covered: int) -> None:
    cells = coverage(*(np.array([value], float) for value in corners))
    assert cells.shape == (GRID[1], GRID[0])
    assert cells.sum() == covered
    assert set(np.unique(cells)) <= {0.0, 1.0}


def test_photographs_by_source_and_light(lake: Lake) -> None:
    rows = [
        photograph("a", source="web", luma_mean=20.0, boxes=[]),
        photograph("b", source="web", luma_mean=80.0),
        photograph("c", source=None, luma_mean=None),
        photograph("d", source="", luma_mean=120.0, boxes=[box(0, 0, 0, 1, 1)]),
        photograph("e", source="app"),
    ]
    parts = explored(lake, rows).parts("source", 48.0)
    assert {p.value: (p.photographs, p.labelled, p.boxes) for p in parts} == {
        "web": (2, 1, 0),
        "not said": (2, 1, 1),
        "app": (1, 0, 0),
    }
    web = next(p for p in parts if p.value == "web")
    assert (web.dark, web.luma) == (0.5, pytest.approx((26, 50, 74)))
    rest = explored(lake, rows).parts("source", 48.0, most=1)
    assert [(p.value, p.photographs) for p in rest][1:] == [("all others", 3)]
    shares = explored(lake, rows).histogram("luma_mean", "source", [0, 50, 100, 255])
    assert shares["web"] == [0.5, 0.5, 0.0]


def test_answers_are_explored_where_nobody_labelled(lake: Lake) -> None:
    rows = [photograph("a", predicted=[box(1, 0, 0, 10, 10)]), photograph("b", predicted=[])]
    found = explored(lake, rows, "predicted")
    assert [c.boxes for c in found.classes()] == [0, 1]
    assert found.boxes_a_photograph() == {"0": 1, "1": 1}


def test_nothing_at_all_is_counted_as_nothing(lake: Lake) -> None:
    found = explored(lake, [photograph("a", width=None, height=None)])
    assert [c.boxes for c in found.classes()] == [0, 0]
    assert (found.boxes_a_photograph(), found.positions(), found.splits(48.0)) == ({}, {}, [])


PICTURES = {name: np.random.default_rng(n).uniform(0, 255, (32, 32)) for n, name in enumerate("abcdef")}
PICTURES["b"] = PICTURES["a"] + 1


@pytest.mark.parametrize(
    ("rows", "groups", "pairs", "crossing"),
    [
        ([("a", "train", "g1"), ("c", "val", "g2")], [], 0, 0),
        ([("a", "train", "g1"), ("c", "val", "g1")], ["g1"], 0, 0),
        ([("a", "train", "g1"), ("b", "val", "g2")], [], 1, 1),
        ([("a", "train", "g1"), ("b", "train", "g2")], [], 1, 0),
        ([("a", "test", "g1"), ("b", "test_pool", "g1")], [], 1, 0),  # one side
        ([("a", "train", "g1"), ("b", "excluded", "g1")], [], 1, 0),  # nobody trains on it
        ([("a", "train", "g1"), ("b", None, None)], [], 1, 0),
        ([("a", "train", None), ("c", "val", None)], [], 0, 0),  # two photographs without a car are not one car
    ],
)
def test_what_leaks_is_found(
    lake: Lake, rows: list[tuple[str, str | None, str | None]], groups: list[str], pairs: int, crossing: int
) -> None:
    hashes = {"a": "0" * 16, "b": "0" * 15 + "1", "c": "f" * 16}
    photographs = table([photograph(i, split=split, group_id=group, phash=hashes[i]) for i, split, group in rows])
    found = look_for_leakage(lake, photographs, 4, lambda image: PICTURES[image])
    assert [g.group_id for g in found.crossing_groups] == groups
    assert (len(found.pairs), len(found.crossing_pairs)) == (pairs, crossing)
    assert found.count == len(groups) + crossing
    assert found.hashed == len(rows)


def test_what_cannot_be_read_is_not_taken_for_no_duplicate(lake: Lake) -> None:
    rows = [photograph(i, split=s, group_id=i, phash="0" * 16) for i, s in (("a", "train"), ("b", "val"), ("c", "val"))]
    found = look_for_leakage(lake, table(rows), 4, lambda image: None if image == "c" else PICTURES[image])
    assert (len(found.crossing_pairs), found.unread) == (1, 1)
    said = [f.text for f in findings(100, 100, EVEN, WHOLE, found, [])]
    assert "1 photograph with a near hash cannot be read: near-duplicates among them are not known." in said


def counted(name: str, boxes: int) -> ClassCount:
    return ClassCount(name, boxes, boxes, boxes, None if not boxes else 0.1)


def part(split: str, groups: int = 20, dark: float = 0.0, clean: int = 1, **boxes: int) -> SplitPart:
    return SplitPart(split, 40, groups, clean, boxes or {"scratch": 60, "dent": 60}, dark)


WHOLE = [part("train"), part("val"), part("test")]
EVEN = [counted("scratch", 100), counted("dent", 100)]


@pytest.mark.parametrize(
    ("photographs", "labelled", "classes", "splits", "expected"),
    [
        (100, 100, EVEN, WHOLE, []),
        (100, 0, [counted("scratch", 0), counted("dent", 0)], [], ["bad: No photograph is labelled"]),
        (100, 60, EVEN, [], ["note: 60 of 100 photographs are labelled"]),
        (100, 100, [counted("scratch", 0), counted("dent", 0)], [], ["bad: All labels are empty"]),
        (100, 100, [counted("scratch", 100), counted("dent", 0)], [], ["bad: Only one class has boxes, scratch; dent"]),
        (1, 1, EVEN, [], ["warn: There is one photograph"]),
        (100, 100, [counted("scratch", 1), counted("dent", 9)], [], ["warn: scratch has 1 box on 1 car", "warn: dent"]),
        (100, 100, [counted("scratch", 1000), counted("dent", 60)], [], ["warn: scratch has 17 times"]),
        (100, 100, EVEN, [part("train")], ["warn: No photograph is in val", "warn: No photograph is in test"]),
        (100, 100, EVEN, [*WHOLE[:2], part("test", scratch=5)], ["bad: test has no box of dent"]),
        (100, 100, EVEN, [*WHOLE[:2], part("test", groups=1)], ["warn: test has 1 car:"]),
        (100, 100, EVEN, [*WHOLE[:2], part("test", dark=0.4)], ["warn: 0 % of train and 40 % of test are dark"]),
        (100, 100, EVEN, [part(s, clean=0) for s in ("train", "val", "test")], ["note: Every labelled photograph has"]),
    ],
)
def test_what_stands_out_is_said(
    photographs: int, labelled: int, classes: list[ClassCount], splits: list[SplitPart], expected: list[str]
) -> None:
    said = [f"{f.severity}: {f.text}" for f in findings(photographs, labelled, classes, splits, SOUND, [])]
    assert len(said) == len(expected), said
    for found, begin in zip(said, expected, strict=True):
        assert found.startswith(begin)
