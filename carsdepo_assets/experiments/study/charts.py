"""Draws the charts of a study: its history, what mattered, and its trials across parallel coordinates."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import accumulate, cycle
from typing import Any, NamedTuple

from carsdepo_assets.experiments.study.importance import are_numbers
from carsdepo_assets.experiments.study.space import FAMILY
from carsdepo_assets.lake.trials import Trial
from carsdepo_assets.reporting.charts import (
    INK,
    LINE,
    MUTED,
    PALETTE,
    Form,
    chart,
    legend_or_note,
    saved,
    styled_chart,
)

_MOST_AXES, _MOST_LINES = 7, 25  # more lines are a tangle, and a PNG beyond what the UI carries


class _Point(NamedTuple):
    """The score of a trial."""

    number: int
    family: str
    value: float
    below: float
    """From the lower end of its interval; 0 where it has none."""
    above: float


def _points(ledger: Sequence[Trial]) -> list[_Point]:
    points = []
    for t in ledger:
        if t.value is None or t.ended is None:
            continue
        low = t.value if t.ended.low is None else min(t.value, t.ended.low)
        high = t.value if t.ended.high is None else max(t.value, t.ended.high)
        points.append(_Point(t.number, str(t.asked.params.get(FAMILY)), t.value, t.value - low, high - t.value))
    return points


@styled_chart
def history_chart(ledger: Sequence[Trial], tolerance: float, form: Form = "png") -> bytes:
    """The score of each trial with its interval, the best so far, and the band of the ties."""
    from matplotlib.ticker import MaxNLocator

    figure, axes = chart(6.4, 3.6)
    points = _points(ledger)
    if points:
        top = max(p.value for p in points)
        axes.axhspan(top - tolerance, top, color=PALETTE[2], alpha=0.12, label="tied with the best", linewidth=0)
        so_far = list(accumulate((p.value for p in points), max))
        axes.step([p.number for p in points], so_far, where="post", color=MUTED, linewidth=1.2, label="best so far")
    # A family has its colour from its first trial on, whether that has a score or not.
    families = dict.fromkeys(str(t.asked.params.get(FAMILY)) for t in ledger)
    for colour, family in zip(cycle(PALETTE), families, strict=False):
        own = [p for p in points if p.family == family]
        if own:
            axes.errorbar(
                [p.number for p in own],
                [p.value for p in own],
                yerr=[[p.below for p in own], [p.above for p in own]],
                fmt="o",
                color=colour,
                ecolor=MUTED,
                markersize=6,
                label=family,
                zorder=3,
            )
    stopped = [
        (t.number, t.ended.curve[max(t.ended.curve)])
        for t in ledger
        if t.state == "pruned" and t.ended and t.ended.curve
    ]
    if stopped:
        axes.plot(*zip(*stopped, strict=True), "x", color=MUTED, markersize=6, label="stopped early")
    axes.set(xlabel="Trial", ylabel="mAP@.5 on val")
    axes.set_ylim(bottom=0)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    legend_or_note(axes, bool(points or stopped), "no trial has a score yet")
    return saved(figure, form)


@styled_chart
def importance_chart(figures: Mapping[str, float], form: Form = "png") -> bytes:
    """How much each parameter mattered, as importance.py measures it."""
    figure, axes = chart(6.4, 0.9 + 0.42 * max(1, len(figures)))
    names = list(figures)[::-1]
    axes.barh(names, [figures[n] for n in names], color=PALETTE[0], height=0.6)
    axes.set(xlim=(0, 1), xlabel="Rank correlation with the score (size)")
    axes.grid(axis="y", visible=False)
    legend_or_note(axes, bool(figures), "fewer than four trials have a score")
    if not figures:
        axes.set_yticks([])
    return saved(figure, form)


@styled_chart
def parallel_chart(ledger: Sequence[Trial], form: Form = "png") -> bytes:
    """A line a trial across its parameters to its score, the darker, the better; the best 25 of many."""
    figure, axes = chart(6.9, 3.8)
    scored = sorted((t for t in ledger if t.value is not None), key=lambda t: t.value or 0.0)[-_MOST_LINES:]
    names = list(dict.fromkeys(name for t in scored for name in t.asked.params))[:_MOST_AXES]
    if scored:
        values = {name: [t.asked.params.get(name) for t in scored] for name in names}
        values["mAP@.5"] = [t.value for t in scored]
        columns = {name: _axis(of) for name, of in values.items()}
        for i in range(len(scored)):
            share = i / max(1, len(scored) - 1)
            line = [places[i] for places, _ in columns.values()]
            axes.plot(
                range(len(line)),
                line,
                color=PALETTE[0],
                alpha=0.15 + 0.75 * share,
                linewidth=1 + share,
                marker="o",
                markersize=3,
            )
        axes.set_xticks(range(len(columns)), list(columns))
        for x, (_, marks) in enumerate(columns.values()):
            for y, text in marks:
                axes.annotate(
                    text, (x, y), xytext=(4, 0), textcoords="offset points", fontsize=8, color=INK, va="center"
                )
            axes.axvline(x, color=LINE, linewidth=1)
    axes.set(ylim=(-0.08, 1.08))
    axes.set_yticks([])
    axes.grid(visible=False)
    legend_or_note(axes, bool(scored), "no trial has a score yet")
    return saved(figure, form)


def _axis(values: Sequence[Any]) -> tuple[list[float], list[tuple[float, str]]]:
    """The places of values between 0 and 1, and what is written beside which place.

    Numbers lie from the smallest to the largest, choices evenly spread; a trial without the parameter has a gap.
    """
    present = [v for v in values if v is not None]
    if are_numbers(present):
        low, high = min(present, default=0.0), max(present, default=0.0)
        span = high - low
        places = [math.nan if v is None else (v - low) / span if span else 0.5 for v in values]
        return places, [(0.0, f"{low:.3g}"), (1.0, f"{high:.3g}")] if span else [(0.5, f"{low:.3g}")]
    choices = sorted({str(v) for v in present})
    place_of = {c: i / (len(choices) - 1) if len(choices) > 1 else 0.5 for i, c in enumerate(choices)}
    return [math.nan if v is None else place_of[str(v)] for v in values], [(y, c) for c, y in place_of.items()]
