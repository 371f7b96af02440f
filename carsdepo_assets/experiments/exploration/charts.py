"""The charts of an exploration: bars, positions, distributions and the map of photographs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import quote

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from carsdepo_assets.experiments.exploration.aggregates import place_of_split
from carsdepo_assets.reporting.charts import INK, MUTED, PALETTE, Form, chart, legend_or_note, saved, styled_chart

MAP_SIZE = (980, 620)  # px
_TILE = (64, 48)
GREY = "#9aa7b4"


@dataclass(frozen=True)
class MapPoint:
    """A photograph on the map."""

    image_id: str
    name: str
    """For people, shown when the pointer is on it."""
    x: float
    y: float
    """0 to 1, from the left and from the top."""
    part: str
    """What its colour stands for: its split or its source."""
    picture: str | None = None
    """A data: URI where the point is shown by its photograph."""


@styled_chart
def grouped_bars(counts: Mapping[str, Sequence[float]], names: Sequence[str], unit: str, form: Form = "svg") -> bytes:
    """Draws bars side by side.

    Args:
        counts: Heights by the name of the series, in the order of `names`.
        names: Of the places on the axis.
        unit: What the heights are.
        form: PNG or SVG.
    """
    figure, axes = chart(5.6, 3.2)
    width = 0.8 / max(1, len(counts))
    for number, (name, heights) in enumerate(counts.items()):
        places = [p + (number - (len(counts) - 1) / 2) * width for p in range(len(names))]
        axes.bar(places, list(heights), width, color=PALETTE[number % len(PALETTE)], label=_short(name), zorder=3)
    turned = sum(len(n) for n in names) > 52
    axes.set_xticks(
        range(len(names)), [_short(n) for n in names], rotation=30 if turned else 0, ha="right" if turned else "center"
    )
    axes.tick_params(axis="x", length=0, labelsize=9)
    axes.grid(False, axis="x")
    axes.set_ylabel(unit)
    drawn = any(any(heights) for heights in counts.values())
    if len(counts) > 1 or not drawn:
        legend_or_note(axes, drawn, "nothing to count")
    return saved(figure, form)


@styled_chart
def shares_chart(
    shares: Mapping[str, Sequence[float]], edges: Sequence[float], label: str, form: Form = "svg"
) -> bytes:
    """Draws the distributions of a quality as outlines, one for each source.

    Args:
        shares: Of photographs in each bin, by source.
        edges: Of the bins.
        label: What the axis shows.
        form: PNG or SVG.
    """
    figure, axes = chart(5.6, 3.2)
    for number, (name, values) in enumerate(shares.items()):
        heights = [100 * v for v in values]
        colour = PALETTE[number % len(PALETTE)]
        axes.stairs(heights, list(edges), color=colour, label=_short(name), linewidth=1.8, zorder=3)
    axes.set(xlabel=label, ylabel="% of photographs", ylim=(0, None), xlim=(edges[0], edges[-1]))
    legend_or_note(axes, bool(shares), "not measured")
    return saved(figure, form)


@styled_chart
def positions_chart(cells: Mapping[str, NDArray[np.float64]], form: Form = "svg") -> bytes:
    """Draws for each class how many of its boxes cover each place of the photograph."""
    from matplotlib.figure import Figure

    columns = max(1, min(3, len(cells)))
    rows = max(1, -(-len(cells) // columns))
    figure = Figure(figsize=(min(6.9, 3.3 * columns), 2.8 * rows), dpi=130, layout="constrained")
    for number in range(rows * columns):
        axes = figure.add_subplot(rows, columns, number + 1)
        axes.set(xticks=[], yticks=[])
        axes.grid(False)
        if number < len(cells):
            name, counts = list(cells.items())[number]
            shown = axes.imshow(counts, cmap="magma_r", aspect="auto", interpolation="nearest", vmin=0)
            axes.set_title(_short(name), fontsize=10, color=INK, loc="left")
            figure.colorbar(shown, ax=axes, shrink=0.9, aspect=18).outline.set_visible(False)
        else:
            axes.set_axis_off()
            if not cells:
                axes.text(0.5, 0.5, "no boxes", ha="center", va="center", color=MUTED)
    return saved(figure, form)


@styled_chart
def map_chart(points: Sequence[MapPoint]) -> bytes:
    """The map as a PNG, for Dagster's UI."""
    figure, axes = chart(6.9, 4.4)
    for number, part in enumerate(parts_of(points)):
        mine = [p for p in points if p.part == part]
        axes.scatter([p.x for p in mine], [1 - p.y for p in mine], s=9, color=colour_of(number), label=_short(part))
    axes.set(xticks=[], yticks=[])
    axes.grid(False)
    legend_or_note(axes, bool(points), "no photograph was measured")
    return saved(figure, "png")


def map_svg(points: Sequence[MapPoint]) -> Markup:
    """Draws the map as SVG whose points open their photographs. All text is escaped."""
    width, height = MAP_SIZE
    parts = parts_of(points)
    dots, tiles = [], []
    for point in points:
        x, y = 14 + point.x * (width - 28), 14 + point.y * (height - 28)
        colour = colour_of(parts.index(point.part))
        href = f"/photographs/{quote(point.image_id, safe='')}"
        if point.picture is None:
            dots.append(
                Markup(
                    '<a href="{h}"><circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{c}"><title>{t}</title></circle></a>'
                ).format(h=href, x=x, y=y, c=colour, t=f"{point.name} ({point.part})")
            )
            continue
        w, h = _TILE
        left, top = min(max(x - w / 2, 0), width - w), min(max(y - h / 2, 0), height - h)
        tiles.append(
            Markup(
                '<a href="{href}"><image href="{p}" x="{x:.1f}" y="{y:.1f}" width="{w}" height="{h}" '
                'preserveAspectRatio="xMidYMid slice"/><rect x="{x:.1f}" y="{y:.1f}" width="{w}" height="{h}" '
                'fill="none" stroke="{c}" stroke-width="2"/><title>{t}</title></a>'
            ).format(href=href, p=point.picture, x=left, y=top, w=w, h=h, c=colour, t=f"{point.name} ({point.part})")
        )
    return Markup(
        '<svg class="map" viewBox="0 0 {w} {h}" role="img" aria-label="Map of the photographs">{tiles}{dots}</svg>'
    ).format(w=width, h=height, dots=Markup("").join(dots), tiles=Markup("").join(tiles))


def parts_of(points: Sequence[MapPoint]) -> list[str]:
    """What the colours stand for: splits in the order of the other charts, else the most frequent first."""
    counts: dict[str, int] = {}
    for point in points:
        counts[point.part] = counts.get(point.part, 0) + 1
    return sorted(counts, key=lambda part: (place_of_split(part), -counts[part], part))


def colour_of(number: int) -> str:
    """The colour of the part of a number; grey for those beyond the palette."""
    return PALETTE[number] if number < len(PALETTE) else GREY


def _short(text: str) -> str:
    shown = text if len(text) <= 24 else f"{text[:23]}…"
    return f"\u00a0{shown}" if shown.startswith("_") else shown  # matplotlib leaves such names out of a legend
