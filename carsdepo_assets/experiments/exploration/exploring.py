"""Explores a selection of photographs and publishes the report: `reports/exploration/<kind>-<name>.html`."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from carsdepo_assets.evaluation.slices import DARK_LUMA
from carsdepo_assets.experiments.exploration import charts, pictures
from carsdepo_assets.experiments.exploration.aggregates import (
    ASPECT_EDGES,
    ASPECT_NAMES,
    SIDE_EDGES,
    SIDE_NAMES,
    ClassCount,
    Explored,
    SplitPart,
)
from carsdepo_assets.experiments.exploration.feature_space import MAPPED_MOST, distances, map_of, spread_out
from carsdepo_assets.experiments.exploration.feature_worker import EXTRACTOR, MEASURED_MOST, sampled
from carsdepo_assets.experiments.exploration.findings import DataFinding, findings
from carsdepo_assets.experiments.exploration.leakage import Leakage, look_for_leakage
from carsdepo_assets.experiments.exploration.outliers import Outlier, outliers
from carsdepo_assets.experiments.exploration.report import ExplorationPage, render_exploration
from carsdepo_assets.experiments.exploration.selection import Selection, labelled_count
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.lake.photograph_features import read_features
from carsdepo_assets.policy import Policy
from carsdepo_assets.reporting.charts import Form
from carsdepo_assets.reporting.page import data_uri
from carsdepo_assets.reporting.publish import ReportSummary, publish

SHEET, CROPS, OUTLIERS, PAIRS = 18, 12, 18, 8  # pictures on the page
_THUMBNAIL, _CROP, _MAP_PICTURE = 250, 150, 84  # px
_MAP_CELLS = (11, 9)
LUMA_EDGES = tuple(range(0, 257, 16))
SHARPNESS_EDGES = tuple(round(x, 2) for x in np.linspace(0, 4, 17).tolist())  # of its logarithm to base 10


@dataclass(frozen=True)
class Exploration:
    """What came out."""

    selection: Selection
    page: str
    """The key of the report."""
    summary: str
    findings: tuple[DataFinding, ...]
    leakage: Leakage
    tables: Mapping[str, list[dict[str, Any]]]
    """For Dagster's UI: classes, sources, cameras, light and splits."""
    pictures: Mapping[str, bytes]
    """PNGs by name, for Dagster's UI."""
    figures: Mapping[str, int | float | None]


def explore(
    lake: Lake,
    selection: Selection,
    policy: Policy,
    now: datetime,
    run_id: str | None = None,
    most: int = MEASURED_MOST,
) -> Exploration:
    """Explores the photographs and publishes the report; the same photographs give the same one again.

    Args:
        lake: The lake; features that it does not have are not measured here, see feature_worker.
        selection: The photographs.
        policy: Gives the classes and the limits.
        now: The present, with a time zone.
        run_id: Of the Dagster run.
        most: How many photographs were measured at most.
    """
    photographs, names = selection.photographs, policy.class_map.names
    labelled = labelled_count(photographs)
    answers = labelled == 0 and photographs["predicted"].null_count < photographs.num_rows
    explored = Explored(lake, photographs, names, "predicted" if answers else "boxes")
    rows = _Rows(lake, photographs, policy)
    classes, splits = explored.classes(), explored.splits(DARK_LUMA)
    parts = {column: explored.parts(column, DARK_LUMA) for column in ("source", "camera", "light")}
    leakage = look_for_leakage(lake, photographs, policy.data.duplicate_hamming, rows.grey)
    sentences = findings(photographs.num_rows, labelled, classes, splits, leakage, parts["source"], explored.senseless)
    ids, vectors = read_features(lake, EXTRACTOR, sampled(photographs, most))
    far = dict(zip(ids, distances(vectors).tolist(), strict=True))
    points = _points(rows, ids[:MAPPED_MOST], vectors[:MAPPED_MOST])
    odd = outliers(photographs, far, OUTLIERS)
    bars = _bars(explored, classes, splits)
    summary = _summary(photographs.num_rows, labelled, explored, leakage, sentences)
    figures: dict[str, int | float | None] = {
        "photographs": photographs.num_rows,
        "labelled": labelled,
        "boxes": explored.boxes.num_rows,
        "leaks": leakage.count,
        "near_duplicates": len(leakage.pairs),
        "outliers": len(odd),
        "mapped": len(points),
    }
    html = render_exploration(
        ExplorationPage(
            selection=selection,
            made_at=now,
            summary=summary,
            findings=sentences,
            labelled=labelled,
            boxes_are_answers=answers,
            boxes=explored.boxes.num_rows,
            classes=classes,
            splits=splits,
            parts=parts,
            leakage=leakage,
            pairs=[
                (pair, pictures.sheet_rows(rows.of([pair.first, pair.second]), rows.pixels, _THUMBNAIL))
                for pair in sorted(leakage.pairs, key=lambda p: (not p.crosses, p.same_group))[:PAIRS]
            ],
            charts={name: data_uri(draw("svg")) for name, draw in bars.items()},
            map_svg=charts.map_svg(points),
            map_parts=[(part, charts.colour_of(n)) for n, part in enumerate(charts.parts_of(points))],
            mapped=len(points),
            measured=len(ids),
            sheet=pictures.sheet_rows(_spread(rows, SHEET), rows.pixels, _THUMBNAIL),
            crops=_crops(explored, rows),
            outliers=_shown(odd, rows),
            class_names=tuple(names),
        )
    )
    key = f"reports/exploration/{selection.kind}-{_file_name(selection.name)}"
    details = {"kind": selection.kind, "name": selection.name, "findings": [asdict(f) for f in sentences]}
    title = f"Exploration: {selection.title}"
    page = publish(
        lake, key, html, ReportSummary(title=title, at=now, summary=summary, figures=figures),
        details | {"dagster_run_id": run_id, "extractor": EXTRACTOR},
    )  # fmt: skip
    tables = {
        "classes": [asdict(c) for c in classes],
        **{f"by_{column}": [_flat(asdict(p)) for p in listed] for column, listed in parts.items()},
        "splits": [_flat(asdict(s)) for s in splits],
    }
    shown = {name: bars[name]("png") for name in ("classes", "sides", "positions")}
    return Exploration(
        selection, page, summary, tuple(sentences), leakage, tables, shown | {"map": charts.map_chart(points)}, figures
    )


class _Rows:
    """The photographs by id, with their pixels."""

    def __init__(self, lake: Lake, photographs: pa.Table, policy: Policy) -> None:
        self.lake, self.policy, self.table = lake, policy, photographs
        self._place = {image: n for n, image in enumerate(photographs["image_id"].to_pylist())}

    def of(self, image_ids: Sequence[str]) -> list[dict[str, Any]]:
        places = pa.array([self._place[i] for i in image_ids], pa.int64())
        return list(self.table.take(places).to_pylist())

    def pixels(self, key: str | None, at_least: int) -> NDArray[np.uint8] | None:
        return pictures.photograph_pixels(self.lake, key, self.policy, at_least)

    def grey(self, image_id: str) -> NDArray[np.float64] | None:
        """The thumbnail by which near-duplicates are verified; None of a photograph that is gone or damaged."""
        from carsdepo_assets.imaging.perceptual import grey_thumbnail

        rgb = self.pixels(self.of([image_id])[0]["picture_key"], 256)
        return None if rgb is None else grey_thumbnail(rgb)


def _points(rows: _Rows, ids: Sequence[str], vectors: NDArray[np.float32]) -> list[charts.MapPoint]:
    places = map_of(vectors)
    chosen = set(spread_out(places, *_MAP_CELLS)) if len(ids) else set[int]()
    by_split = any(row["split"] for row in rows.of(ids[:50]))
    points = []
    for n, row in enumerate(rows.of(ids)):
        small = (
            pictures.thumbnail_uri(rows.pixels(row["picture_key"], _MAP_PICTURE), _MAP_PICTURE) if n in chosen else None
        )
        part = row["split"] if by_split else row["source"]
        name = (row["key"] or row["image_id"]).rsplit("/", 1)[-1]
        x, y = places[n].tolist()
        points.append(charts.MapPoint(row["image_id"], name, x, y, part or "not said", small))
    return points


def _bars(
    explored: Explored, classes: Sequence[ClassCount], splits: Sequence[SplitPart]
) -> dict[str, Callable[[Form], bytes]]:
    """The charts by name, each to be drawn as SVG for the page or as PNG for the UI."""
    by_split = {s.split: [s.boxes.get(c.name, 0) for c in classes] for s in splits if s.split != "excluded"}
    a_photograph = explored.boxes_a_photograph()

    def bars(counts: Mapping[str, Sequence[float]], names: Sequence[str], unit: str) -> Callable[[Form], bytes]:
        return lambda form: charts.grouped_bars(counts, names, unit, form)

    def shares(column: str, edges: Sequence[float], label: str, by_log: bool) -> Callable[[Form], bytes]:
        bins = explored.histogram(column, "source", edges, by_log=by_log)
        return lambda form: charts.shares_chart(bins, edges, label, form)

    return {
        "classes": bars(by_split or {"boxes": [c.boxes for c in classes]}, [c.name for c in classes], "boxes"),
        "a_photograph": bars({"photographs": list(a_photograph.values())}, list(a_photograph), "photographs"),
        "sides": bars(explored.by_class("side", SIDE_EDGES), SIDE_NAMES, "boxes"),
        "aspects": bars(explored.by_class("aspect", ASPECT_EDGES), ASPECT_NAMES, "boxes"),
        "positions": lambda form: charts.positions_chart(explored.positions(), form),
        "luma": shares("luma_mean", LUMA_EDGES, "mean brightness, 0 to 255", False),
        "sharpness": shares("sharpness", SHARPNESS_EDGES, "sharpness, logarithm to base 10", True),
    }


def _spread(rows: _Rows, most: int) -> list[dict[str, Any]]:
    """Photographs of different cars, evenly spread over the order of the ids, which is chance."""
    seen: set[str] = set()
    chosen = []
    for image, group in zip(*(rows.table[c].to_pylist() for c in ("image_id", "group_id")), strict=True):
        if (group or image) not in seen:
            seen.add(group or image)
            chosen.append(image)
    step = max(1, len(chosen) // most)
    return rows.of(chosen[::step][:most])


def _crops(explored: Explored, rows: _Rows) -> dict[str, list[dict[str, Any]]]:
    """Boxes of each class with their surroundings, from the smallest to the largest."""
    listed: dict[str, list[dict[str, Any]]] = {}
    boxes = explored.boxes.select(["image_id", "class_id", "x1", "y1", "x2", "y2", "side"]).sort_by("side")
    ids = boxes["class_id"].to_numpy(zero_copy_only=False)
    for class_id in sorted(set(ids.tolist())):
        places = np.flatnonzero(ids == class_id)
        chosen = places[np.unique(np.linspace(0, len(places) - 1, min(CROPS, len(places))).astype(int))]
        shown = []
        for box in boxes.take(pa.array(chosen)).to_pylist():
            row = rows.of([box["image_id"]])[0]
            cut = pictures.crop_uri(rows.pixels(row["picture_key"], 800), box, _CROP)
            shown.append({"image_id": box["image_id"], "class_id": box["class_id"], "side": box["side"], "cut": cut})
        listed[explored.name_of(int(class_id))] = shown
    return listed


def _shown(odd: Sequence[Outlier], rows: _Rows) -> list[dict[str, Any]]:
    ids = rows.table["image_id"].to_pylist()
    sheet = pictures.sheet_rows(rows.of([ids[o.index] for o in odd]), rows.pixels, _THUMBNAIL)
    return [row | {"reasons": o.reasons} for row, o in zip(sheet, odd, strict=True)]


def _summary(count: int, labelled: int, explored: Explored, leakage: Leakage, sentences: Sequence[DataFinding]) -> str:
    bad, warned = (sum(f.severity == kind for f in sentences) for kind in ("bad", "warn"))
    leaks = "nothing leaks between the splits" if leakage.count == 0 else f"{leakage.count} leaks between the splits"
    split = f"; {leaks}" if leakage.photographs else ""
    doubts = f" {bad} bad findings, {warned} warnings." if bad or warned else " Nothing stands out."
    return f"{count:,} photographs, {labelled:,} labelled, {explored.boxes.num_rows:,} boxes{split}.{doubts}"


def _flat(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of figures with single values: percentiles as one text, counts by class as columns."""
    flat: dict[str, Any] = {}
    for name, value in row.items():
        if isinstance(value, tuple):
            flat[name] = " / ".join(f"{v:.3g}" for v in value)
        elif isinstance(value, dict):
            flat[name] = ", ".join(f"{k} {v}" for k, v in value.items())
        else:
            flat[name] = value
    return flat


def _file_name(name: str) -> str:
    """A name of a report's file; batches are called as people's folders may be."""
    return re.sub(r"[^\w.-]+", "-", name)
