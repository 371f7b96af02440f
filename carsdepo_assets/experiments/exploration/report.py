"""Renders an exploration as one HTML page, whose photographs are links to their pages on the site."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from markupsafe import Markup

from carsdepo_assets.evaluation.slices import DARK_LUMA
from carsdepo_assets.experiments.exploration.aggregates import ClassCount, PartOfPhotographs, SplitPart
from carsdepo_assets.experiments.exploration.findings import DataFinding
from carsdepo_assets.experiments.exploration.leakage import Leakage, NearPair
from carsdepo_assets.experiments.exploration.selection import Selection
from carsdepo_assets.reporting.page import render


@dataclass(frozen=True)
class ExplorationPage:
    """What the page shows. Pictures are data: URIs, None where a photograph is gone."""

    selection: Selection
    made_at: datetime
    summary: str
    findings: Sequence[DataFinding]
    labelled: int
    boxes_are_answers: bool
    """Whether the boxes are the model's answers, since nobody has labelled the photographs."""
    boxes: int
    classes: Sequence[ClassCount]
    splits: Sequence[SplitPart]
    parts: Mapping[str, Sequence[PartOfPhotographs]]
    """Photographs by source, camera and light."""
    leakage: Leakage
    pairs: Sequence[tuple[NearPair, Sequence[Mapping[str, Any]]]]
    """Near-duplicates with their two pictures, those on two sides first."""
    charts: Mapping[str, str]
    """Data: URIs by name."""
    map_svg: Markup
    map_parts: Sequence[tuple[str, str]]
    """What the colours of the map stand for."""
    mapped: int
    """Points of the map."""
    measured: int
    """Photographs whose features are known."""
    sheet: Sequence[Mapping[str, Any]]
    crops: Mapping[str, Sequence[Mapping[str, Any]]]
    outliers: Sequence[Mapping[str, Any]]
    class_names: Sequence[str]


def render_exploration(page: ExplorationPage) -> str:
    """Renders the page. Every text in it is escaped."""
    worst = page.findings[0].severity if page.findings else None
    return render(
        Path(__file__).parent,
        "report.html",
        p=page,
        count_all=page.selection.photographs.num_rows,
        verdict={"bad": "failed", "warn": "neutral", "note": "", None: ""}[worst],
        heading={"bad": "Look at this before a training", "warn": "Some things to look at"}.get(
            worst or "", "Nothing stands in the way of a training"
        ),
        dark=DARK_LUMA,
        names={"source": "Source", "camera": "Camera", "light": "Light"},
    )
