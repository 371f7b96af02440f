"""The common style of charts, and how they are saved: as SVG for a page, or as PNG for Dagster's UI.

PNGs are at most 900 px wide and under 100 kB, so that they can be metadata of a materialization.
"""

from __future__ import annotations

import functools
import io
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal, ParamSpec

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Form = Literal["png", "svg"]
_Arguments = ParamSpec("_Arguments")

INK, MUTED, LINE = "#1f2933", "#6b7785", "#e3e8ee"
PALETTE = ("#1f6feb", "#d9730d", "#2a9d6f", "#8b5cf6", "#c2255c", "#0b7285")
_DPI = 130
# A browser shows nothing of an SVG with one of these.
_NO_XML = re.compile("[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_FONTS = "system-ui, 'Segoe UI', Helvetica, Arial, sans-serif"
_STYLE = {
    "font.size": 10,
    "axes.edgecolor": LINE,
    "axes.labelcolor": MUTED,
    "text.color": INK,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "axes.grid": True,
    "grid.color": LINE,
    "grid.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "axes.axisbelow": True,
    "text.parse_math": False,  # names of people's folders, classes and settings may have dollar signs
    "svg.fonttype": "none",
    "svg.hashsalt": "carsdepo",
}


def styled_chart(draw: Callable[_Arguments, bytes]) -> Callable[_Arguments, bytes]:
    """Decorates a function that draws a chart: it draws in the common style, and matplotlib's settings stay as they
    were."""

    @functools.wraps(draw)
    def styled(*args: _Arguments.args, **kwargs: _Arguments.kwargs) -> bytes:
        import matplotlib

        with matplotlib.rc_context(_STYLE):
            return draw(*args, **kwargs)

    return styled


def chart(width: float, height: float) -> tuple[Figure, Axes]:
    """Returns a new figure with one pair of axes; width (at most 900 px, which are 6.9 inches) and height in inches."""
    from matplotlib.figure import Figure  # not pyplot: no global state, no display

    figure = Figure(figsize=(min(width, 900 / _DPI), height), dpi=_DPI, layout="constrained")
    return figure, figure.add_subplot()


def legend_or_note(axes: Axes, drawn: bool, note: str, more: Axes | None = None) -> None:
    """Puts the legend above the chart, where it covers no line, or a note into a chart without data.

    Args:
        axes: of the chart.
        drawn: whether anything is drawn on them.
        note: says why there is nothing.
        more: further axes whose lines belong into the same legend.
    """
    if not drawn:
        axes.text(0.5, 0.5, note, transform=axes.transAxes, ha="center", va="center", color=MUTED)
        return
    lines, labels = axes.get_legend_handles_labels()
    if more is not None:
        others, names = more.get_legend_handles_labels()
        lines, labels = lines + others, labels + names
    if lines:
        axes.legend(
            lines,
            labels,
            loc="lower left",
            bbox_to_anchor=(0, 1),
            ncols=min(len(lines), 3),
            borderaxespad=0.2,
            handlelength=1.4,
            columnspacing=1.4,
        )


def saved(figure: Figure, form: Form) -> bytes:
    """Returns a figure as the bytes of a PNG or SVG file; the same figure gives the same bytes."""
    out = io.BytesIO()
    figure.savefig(
        out,
        format=form,
        facecolor="white" if form == "png" else "none",
        metadata={"Date": None} if form == "svg" else None,
    )
    if form == "svg":  # the reader's own fonts: narrower than the ones that were measured, so nothing overflows
        return _NO_XML.sub("\ufffd", out.getvalue().decode()).replace("'DejaVu Sans'", _FONTS).encode()
    return small_png(out.getvalue())


def small_png(png: bytes) -> bytes:
    """Returns a chart's PNG with at most 256 colours, which are enough for a chart and a third of the bytes."""
    from PIL import Image

    out = io.BytesIO()
    Image.open(io.BytesIO(png)).convert("RGB").quantize(256, dither=Image.Dither.NONE).save(out, "PNG", optimize=True)
    return out.getvalue()
