"""Counts and distributions of photographs and their boxes, in columns: DuckDB over Arrow, whatever their number."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from carsdepo_assets.lake.lake import Lake

GRID = (32, 24)  # cells across and down of the map of positions
MANY_BOXES = 10  # photographs with as many boxes or more are counted together
SIDE_EDGES = (0.0, 0.02, 0.05, 0.1, 0.2, 0.4, 1.01)  # root of a box's share of the photograph
ASPECT_EDGES = (0.0, 0.25, 0.5, 0.8, 1.25, 2.0, 4.0, float("inf"))  # width over height of a box
SIDE_NAMES = ("under 2 %", "2 to 5 %", "5 to 10 %", "10 to 20 %", "20 to 40 %", "over 40 %")
ASPECT_NAMES = ("under 1:4", "1:4", "1:2", "square", "2:1", "4:1", "over 4:1")
_SPLITS = ("train", "val", "test", "test_pool", "excluded")


def place_of_split(name: str) -> int:
    """The place of a split among those of a dataset, in tables and charts; other names come after all of them."""
    return _SPLITS.index(name) if name in _SPLITS else len(_SPLITS)


@dataclass(frozen=True)
class ClassCount:
    """One class of damage."""

    name: str
    boxes: int
    photographs: int
    """With at least one box of it."""
    groups: int
    """Cars with at least one box of it."""
    median_side: float | None
    """Root of the box's share of the photograph, of 1."""


@dataclass(frozen=True)
class PartOfPhotographs:
    """Photographs that share a value, such as a source."""

    value: str
    photographs: int
    labelled: int
    groups: int
    boxes: int
    luma: tuple[float, float, float] | None
    """10th percentile, median and 90th percentile of mean brightness, 0 to 255; None: not measured."""
    sharpness: tuple[float, float, float] | None
    """The same of sharpness."""
    dark: float | None
    """Share with a mean brightness under the limit of the dark."""


@dataclass(frozen=True)
class SplitPart:
    """One split of a dataset."""

    split: str
    photographs: int
    groups: int
    without_damage: int
    boxes: dict[str, int]
    """By class."""
    dark: float | None
    """Share with a mean brightness under the limit of the dark."""


class Explored:
    """The photographs of a selection, ready to be counted.

    Args:
        lake: whose DuckDB is used.
        photographs: rows of `selection.PHOTOGRAPHS`.
        class_names: of the classes, by id.
        of: the column that holds the boxes: `boxes` (labels) or `predicted`.
    """

    def __init__(self, lake: Lake, photographs: pa.Table, class_names: Sequence[str], of: str = "boxes") -> None:
        self._lake, self.photographs, self.class_names = lake, photographs, tuple(class_names)
        self.boxes = lake.query(
            f"with b as (select image_id, group_id, split, width, height, unnest({of}) box from p) "
            "select image_id, group_id, split, box.class_id class_id, box.x1 / width x1, box.y1 / height y1, "
            "box.x2 / width x2, box.y2 / height y2, "
            "sqrt(greatest(box.x2 - box.x1, 0) * greatest(box.y2 - box.y1, 0) / (width * height)) side, "
            "(box.x2 - box.x1) / nullif(box.y2 - box.y1, 0) aspect from b where box.class_id is not null "
            "and width > 0 and height > 0 and isfinite(box.x1) and isfinite(box.y1) and isfinite(box.x2) "
            "and isfinite(box.y2) and box.x2 > box.x1 and box.y2 > box.y1",
            p=photographs.select(["image_id", "group_id", "split", "width", "height", of]),
        )
        self.senseless = int(pc.sum(pc.list_value_length(photographs[of])).as_py() or 0) - self.boxes.num_rows
        """Boxes that are left out: without a size, with corners that are no numbers, on a photograph without a size."""
        self._of = of

    def _rows(self, sql: str) -> list[dict[str, Any]]:
        return list(self._lake.query(sql, p=self.photographs, b=self.boxes).to_pylist())

    def name_of(self, class_id: int) -> str:
        """The name of a class; its number where the policy has none for it."""
        return self.class_names[class_id] if 0 <= class_id < len(self.class_names) else f"class {class_id}"

    def classes(self) -> list[ClassCount]:
        """Each class of the policy, and those beyond it that have boxes."""
        rows = self._rows(
            "select class_id, count(*) n, count(distinct image_id) photographs, count(distinct group_id) g, "
            "median(side) side from b group by 1"
        )
        by_id = {row["class_id"]: row for row in rows}
        ids = sorted({*range(len(self.class_names)), *by_id})
        return [
            ClassCount(self.name_of(i), r["n"], r["photographs"], r["g"], r["side"])
            if (r := by_id.get(i))
            else ClassCount(self.name_of(i), 0, 0, 0, None)
            for i in ids
        ]

    def boxes_a_photograph(self) -> dict[str, int]:
        """Photographs by their number of boxes, `10+` together; those without labels are left out."""
        rows = self._rows(
            f"select least(len({self._of}), {MANY_BOXES}) n, count(*) c from p where {self._of} is not null group by 1"
        )
        counts = {row["n"]: row["c"] for row in rows}
        if not counts:
            return {}
        last = max(counts)
        return {f"{n}+" if n == MANY_BOXES else str(n): counts.get(n, 0) for n in range(last + 1)}

    def by_class(self, column: str, edges: Sequence[float]) -> dict[str, list[int]]:
        """The number of each class's boxes between the edges.

        Args:
            column: side or aspect.
            edges: the lower edges, and the end of the last.
        """
        values = self.boxes[column].to_numpy(zero_copy_only=False).astype(float)
        ids = self.boxes["class_id"].to_numpy(zero_copy_only=False)
        counted = {}
        for class_id in sorted(set(ids.tolist())):
            of_class = values[(ids == class_id) & np.isfinite(values)]
            places = np.searchsorted(np.asarray(edges[1:-1]), of_class, side="right")
            counted[self.name_of(int(class_id))] = np.bincount(places, minlength=len(edges) - 1).tolist()
        return counted

    def positions(self) -> dict[str, NDArray[np.float64]]:
        """For each class how many boxes cover each cell of GRID, rows from the top."""
        ids = self.boxes["class_id"].to_numpy(zero_copy_only=False)
        corners = [self.boxes[name].to_numpy(zero_copy_only=False) for name in ("x1", "y1", "x2", "y2")]
        return {
            self.name_of(int(c)): coverage(*(values[ids == c] for values in corners)) for c in sorted(set(ids.tolist()))
        }

    def parts(self, column: str, dark_below: float, most: int = 12) -> list[PartOfPhotographs]:
        """Photographs by source, camera or light, the most frequent first; nulls are `not said`.

        Args:
            column: source, camera or light.
            dark_below: mean brightness under which a photograph is dark.
            most: how many are listed by themselves; the rest is one part.
        """
        rows = self._rows(
            f"with named as (select *, coalesce(nullif({column}, ''), 'not said') v from p), "
            "ranked as (select v, row_number() over (order by count(*) desc, v) place from named group by v), "
            f"parts as (select named.*, case when place <= {most} then v else 'all others' end part, "
            f"least(place, {most + 1}) place from named join ranked using (v)) "
            "select part, any_value(place) place, count(*) n, count(boxes) labelled, count(distinct group_id) g, "
            "coalesce(sum(len(boxes)), 0)::bigint boxes, quantile_cont(luma_mean, [0.1, 0.5, 0.9]) luma, "
            "quantile_cont(sharpness, [0.1, 0.5, 0.9]) sharp, "
            f"avg((luma_mean < {dark_below})::int) dark from parts group by part order by place"
        )
        return [
            PartOfPhotographs(
                r["part"], r["n"], r["labelled"], r["g"], r["boxes"], _three(r["luma"]), _three(r["sharp"]), r["dark"]
            )
            for r in rows
        ]

    def splits(self, dark_below: float) -> list[SplitPart]:
        """The splits of a dataset, train, val and test first; none where no photograph has one."""
        rows = self._rows(
            "select split, count(*) n, count(distinct group_id) g, "
            "count(*) filter (where boxes is not null and len(boxes) = 0) clean, "
            f"avg((luma_mean < {dark_below})::int) dark from p where split is not null group by 1"
        )
        counts = self._rows("select split, class_id, count(*) n from b where split is not null group by all")
        boxes: dict[str, dict[str, int]] = {}
        for row in counts:
            boxes.setdefault(row["split"], {})[self.name_of(row["class_id"])] = row["n"]
        rows.sort(key=lambda r: (place_of_split(r["split"]), r["split"]))
        return [SplitPart(r["split"], r["n"], r["g"], r["clean"], boxes.get(r["split"], {}), r["dark"]) for r in rows]

    def histogram(
        self, column: str, by: str, edges: Sequence[float], most: int = 5, by_log: bool = False
    ) -> dict[str, list[float]]:
        """The share of photographs between the edges, for the most frequent values of another column.

        Args:
            column: a quality such as luma_mean.
            by: source or camera.
            edges: edges of the bins; what lies beyond is counted in the first and the last.
            most: how many values of `by`.
            by_log: whether the edges are those of the quality's logarithm to base 10.
        """
        values = self.photographs[column].to_numpy(zero_copy_only=False).astype(float)
        values = np.log10(np.maximum(values, 1e-6)) if by_log else values
        origin = np.array([v or "not said" for v in self.photographs[by].to_pylist()], dtype=object)
        there = np.isfinite(values)
        counts = Counter(origin[there].tolist())  # numpy's own texts take the room of the longest, each
        shares = {}
        for name in sorted(counts, key=lambda name: (-counts[name], name))[:most]:
            places = np.searchsorted(np.asarray(edges[1:-1]), values[there & (origin == name)], side="right")
            counted = np.bincount(places, minlength=len(edges) - 1)
            shares[name] = (counted / counted.sum()).tolist()
        return shares


def coverage(x1: NDArray[Any], y1: NDArray[Any], x2: NDArray[Any], y2: NDArray[Any]) -> NDArray[np.float64]:
    """How many boxes cover each cell of GRID, by sums over the corners, so that a million boxes take no loop.

    Args:
        x1: left edges, of 0 to 1 of the photograph; y1, x2 and y2 likewise.
        y1: upper edges.
        x2: right edges.
        y2: lower edges.

    Returns:
        (down, across).
    """
    across, down = GRID
    counts = np.zeros((down + 1, across + 1))
    left = np.clip(np.floor(x1 * across), 0, across - 1).astype(int)
    top = np.clip(np.floor(y1 * down), 0, down - 1).astype(int)
    right = np.clip(np.ceil(x2 * across), left + 1, across).astype(int)
    bottom = np.clip(np.ceil(y2 * down), top + 1, down).astype(int)
    for rows, columns, sign in ((top, left, 1), (top, right, -1), (bottom, left, -1), (bottom, right, 1)):
        np.add.at(counts, (rows, columns), sign)
    return np.asarray(counts.cumsum(0).cumsum(1)[:down, :across])


def _three(values: Sequence[float | None] | None) -> tuple[float, float, float] | None:
    if values is None or any(v is None for v in values):
        return None
    low, middle, high = (float(v) for v in values if v is not None)
    return low, middle, high
