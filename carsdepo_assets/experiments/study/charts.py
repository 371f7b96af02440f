"""Draws the charts of a study: its history, what mattered, and its trials across parallel coordinates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

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


@styled_chart
def history_chart(ledger: Sequence[Trial], tolerance: float, form: Form = "png") -> bytes:
    """The score of each trial with its interval, the best so far, and the band of the ties."""
    from matplotlib.ticker import MaxNLocator

    figure, axes = chart(6.4, 3.6)
    scored = [t for t in ledger if t.value is not None and t.ended is not None]
    families = list(dict.fromkeys(str(t.asked.params.get(FAMILY)) for t in ledger))
    if scored:
        top = max(t.value or 0.0 for t in scored)
        axes.axhspan(top - tolerance, top, color=PALETTE[2], alpha=0.12, label="tied with the best", linewidth=0)
        best, so_far = -1.0, []
        for t in scored:
            best = max(best, t.value or 0.0)
            so_far.append(best)
        axes.step([t.number for t in scored], so_far, where="post", color=MUTED, linewidth=1.2, label="best so far")
    for i, family in enumerate(families):
        own = [t for t in scored if str(t.asked.params.get(FAMILY)) == family and t.ended is not None]
        if not own:
            continue
        values = [t.value or 0.0 for t in own]
        below = [
            v - (v if t.ended is None or t.ended.low is None else min(v, t.ended.low))
            for v, t in zip(values, own, strict=True)
        ]
        above = [
            (v if t.ended is None or t.ended.high is None else max(v, t.ended.high)) - v
            for v, t in zip(values, own, strict=True)
        ]
        colour = PALETTE[i % len(PALETTE)]
        axes.errorbar(
            [t.number for t in own],
            values,
            yerr=[below, above],
            fmt="o",
            color=colour,
            ecolor=LINE,
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
    legend_or_note(axes, bool(scored or stopped), "no trial has a score yet")
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
        columns = {name: _scaled(of) for name, of in values.items()}
        for i in range(len(scored)):
            share = i / max(1, len(scored) - 1)
            line = [columns[name][i] for name in columns]
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
        for x, of in enumerate(values.values()):
            for y, text in _ends(of):
                axes.annotate(
                    text, (x, y), xytext=(4, 0), textcoords="offset points", fontsize=8, color=INK, va="center"
                )
            axes.axvline(x, color=LINE, linewidth=1)
    axes.set(ylim=(-0.08, 1.08))
    axes.set_yticks([])
    axes.grid(visible=False)
    legend_or_note(axes, bool(scored), "no trial has a score yet")
    return saved(figure, form)


def _scaled(values: Sequence[Any]) -> list[float]:
    """Values from 0 to 1; choices evenly spread; a trial without the parameter has a gap."""
    present = [v for v in values if v is not None]
    if all(isinstance(v, int | float) and not isinstance(v, bool) for v in present):
        low, high = min(present, default=0.0), max(present, default=0.0)
        return [float("nan") if v is None else 0.5 if low == high else (v - low) / (high - low) for v in values]
    choices = sorted({str(v) for v in present})
    places = {c: 0.5 if len(choices) == 1 else i / (len(choices) - 1) for i, c in enumerate(choices)}
    return [float("nan") if v is None else places[str(v)] for v in values]


def _ends(values: Sequence[Any]) -> list[tuple[float, str]]:
    present = [v for v in values if v is not None]
    if all(isinstance(v, int | float) and not isinstance(v, bool) for v in present):
        low, high = min(present), max(present)
        return [(0.5, f"{low:.3g}")] if low == high else [(0.0, f"{low:.3g}"), (1.0, f"{high:.3g}")]
    choices = sorted({str(v) for v in present})
    return [(0.5 if len(choices) == 1 else i / (len(choices) - 1), c) for i, c in enumerate(choices)]
