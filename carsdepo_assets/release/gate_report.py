"""Shows the gate's verdict: a self-contained HTML page, and pictures for it and for Dagster's UI."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from carsdepo_assets.release.gate import GateInputs, Verdict
from carsdepo_assets.release.gate_checks import Check, points
from carsdepo_assets.reporting.charts import MUTED, PALETTE, Form, chart, legend_or_note, saved, styled_chart
from carsdepo_assets.reporting.page import data_uri, render
from carsdepo_assets.scoring.paired import Footing

_GOOD, _BAD, _OPEN = PALETTE[2], "#b42318", PALETTE[1]
_COLOURS = {True: _GOOD, False: _BAD, None: _OPEN}
_WORDS = {True: "passed", False: "failed", None: "undecided"}
_HEADINGS = {
    "promote": "Promote",
    "reject": "Reject",
    "undecided": "Undecided: it stays a candidate",
}
_SLICES_SHOWN = 20


@dataclass(frozen=True)
class Page:
    """What the page about a verdict shows."""

    gate_id: str
    inputs: GateInputs
    verdict: Verdict
    made_at: datetime
    version: int | None
    """The challenger's version in the registry; None where it has none."""
    champion_version: int | None
    """The champion's version in the registry; None where it has none."""
    runtime: str
    """The runtime that served the challenger at staging."""


def render_gate(page: Page) -> str:
    """Renders the page as HTML. Every text in it is escaped."""
    v = page.verdict
    compared = [c for c in v.checks if c.kind in ("comparison", "class", "slice")]
    slices = [c for c in compared if c.kind == "slice"]
    return render(
        Path(__file__).parent,
        "gate.html",
        p=page,
        v=v,
        heading=_HEADINGS[v.verdict],
        challenger=_name(page.version, page.inputs.challenger),
        champion=_name(page.champion_version, page.inputs.champion),
        chart=data_uri(differences_png(v, "svg")) if any(c.difference is not None for c in compared) else None,
        comparisons=[_row(c) for c in compared if c.kind == "comparison"],
        footing=_footing(v) if v.footing else None,
        classes=[_row(c) for c in compared if c.kind == "class"],
        curves=data_uri(froc_png(v.footing, "svg")) if v.footing else None,
        slices=[_row(c) for c in sorted(slices, key=lambda c: -(c.boxes or 0))[:_SLICES_SHOWN]],
        slices_left_out=max(0, len(slices) - _SLICES_SHOWN),
        absolutes=[_absolute(c) for c in v.checks if c.kind in ("floor", "limit")],
        figures=_figures(v),
        first=page.inputs.champion is None,
    )


@styled_chart
def differences_png(verdict: Verdict, form: Form = "png") -> bytes:
    """Draws each difference in percentage points, with its interval and the bar that it must not lie under."""
    rows = [c for c in verdict.checks if c.difference is not None and (c.kind != "slice" or c.low is not None)]
    figure, axes = chart(6.9, 1.0 + 0.42 * max(len(rows), 1))
    for y, c in enumerate(reversed(rows)):
        assert c.difference is not None
        colour = _colour(c)
        if c.low is not None and c.high is not None:
            axes.plot([100 * c.low, 100 * c.high], [y, y], color=colour, linewidth=2.4, solid_capstyle="round")
        axes.plot(100 * c.difference, y, "o", color=colour, markersize=6)
        axes.plot([100 * c.bar] * 2, [y - 0.34, y + 0.34], color=MUTED, linewidth=1.6)
    axes.axvline(0, color=MUTED, linewidth=0.8, linestyle=":")
    axes.set_yticks(range(len(rows)), [c.name for c in reversed(rows)])
    axes.set_ylim(-0.7, max(len(rows), 1) - 0.3)
    axes.set_xlabel("challenger − champion, points")
    axes.grid(axis="y", visible=False)
    for label, colour in {outcome_label(c): _colour(c) for c in rows}.items():
        axes.plot([], [], "o-", color=colour, label=label)
    axes.plot([], [], color=MUTED, linewidth=1.6, label="bar")
    legend_or_note(axes, bool(rows), "There is nothing to compare with")
    return saved(figure, form)


@styled_chart
def froc_png(footing: Footing, form: Form = "png") -> bytes:
    """Draws recall of all classes over false alarms a photograph (FROC), for both models.

    Marked are the models' own thresholds and the footing, the common number of false alarms.
    False alarms are drawn on a scale of square roots: few of them are where models differ, and 0 has a place.
    """
    figure, axes = chart(6.9, 3.9)
    sides = (("champion", footing.first, PALETTE[1]), ("challenger", footing.second, PALETTE[0]))
    for name, side, colour in sides:
        false_alarms, recall = side.curve
        axes.plot(false_alarms, recall, color=colour, linewidth=2.0, label=name)
        at_own = float(np.interp(side.deployed_false_alarms, false_alarms, recall)) if false_alarms else 0.0
        axes.plot(side.deployed_false_alarms, at_own, "o", color=colour, markersize=7, markerfacecolor="white")
    axes.axvline(footing.false_alarms, color=MUTED, linewidth=1.6, label=f"footing: {footing.false_alarms:.2f}")
    axes.plot([], [], "o", color=MUTED, markerfacecolor="white", label="own threshold")
    # Far beyond both thresholds nobody looks, and a detector that draws everything would press the rest together.
    furthest = 3 * max(footing.false_alarms, *(side.deployed_false_alarms for _, side, _ in sides))
    axes.set_xscale("function", functions=(lambda x: np.sqrt(np.maximum(x, 0)), np.square))
    axes.set_xlim(0, furthest)
    ticks = [t for t in (0, 0.125, 0.5, 1, 2, 4, 8, 16, 32, 64) if t <= furthest]
    axes.set_xticks(ticks, [f"{t:g}" for t in ticks])
    axes.set_ylim(0, 1)
    axes.set_xlabel("false alarms a photograph")
    axes.set_ylabel("recall, all classes")
    legend_or_note(axes, True, "")
    return saved(figure, form)


def outcome_label(check: Check) -> str:
    """A check's result in a word, for tables and legends."""
    return _WORDS[check.passed] if check.vetoes else "no veto"


def _colour(check: Check) -> str:
    return _COLOURS[check.passed] if check.vetoes else MUTED


def _footing(v: Verdict) -> dict[str, Any]:
    """Both models at their own thresholds and at the footing."""
    footing = v.footing
    assert footing is not None
    rows = []
    for who, side in (("champion", footing.first), ("challenger", footing.second)):
        own = [v.figures.get(f"{who}_{name}") for name in ("recall", "precision")]
        there = [v.figures.get(f"{who}_footing_{name}") for name in ("recall", "precision")]
        rows.append((who, "its own threshold", side.deployed, side.deployed_false_alarms, *own))
        rows.append((who, "the footing", side.threshold, side.false_alarms, *there))
    short = [
        who
        for who, side in (("champion", footing.first), ("challenger", footing.second))
        if side.false_alarms < footing.false_alarms - 1e-6
    ]
    return {"false_alarms": footing.false_alarms, "rows": rows, "short": " and ".join(short)}


def _name(version: int | None, digest: str | None) -> str:
    if digest is None:
        return "none"
    return digest if version is None else f"version {version} ({digest})"


def _row(c: Check) -> dict[str, Any]:
    interval = "–" if c.low is None or c.high is None else f"{points(c.low)} to {points(c.high)}"
    return {
        "name": c.name,
        "boxes": c.boxes,
        "champion": c.champion,
        "challenger": c.challenger,
        "difference": "–" if c.difference is None else points(c.difference),
        "interval": interval,
        "bar": points(c.bar),
        "passed": outcome_label(c),
        "says": c.says,
        "needed": c.needed,
    }


def _absolute(c: Check) -> dict[str, str]:
    form = "{:.0f}" if c.name.startswith("latency") else "{:.3f}"
    under = "at most" if c.name.startswith("latency") else "at least"
    value = "not known" if c.challenger is None else form.format(c.challenger)
    return {"name": c.name, "value": value, "bar": f"{under} {form.format(c.bar)}", "passed": outcome_label(c)}


def _figures(v: Verdict) -> Sequence[tuple[str, float | None, float | None]]:
    """(figure, champion's, challenger's): what the gate does not decide on and people look at all the same."""
    names = (("mAP@.5:.95", "map50_95"), ("precision", "precision"), ("recall", "recall"), ("F1", "f1"))
    rows = [(name, v.figures.get(f"champion_{key}"), v.figures.get(f"challenger_{key}")) for name, key in names]
    return [*rows, ("threshold", v.figures.get("champion_threshold"), v.figures.get("challenger_threshold"))]
