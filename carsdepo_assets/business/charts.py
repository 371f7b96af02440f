"""The charts of the KPI report: KPIs over time with the changes of the model marked, drift, and types of damage."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING

import pandas as pd

from carsdepo_assets.business.kpis.base import Kpi
from carsdepo_assets.business.kpis.model import DamageType
from carsdepo_assets.business.periods import Point
from carsdepo_assets.reporting.charts import MUTED, PALETTE, Form, chart, legend_or_note, saved, styled_chart

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_WIDTH, _HEIGHT = 5.6, 3.3
_MODELS = 12  # changes of the model in one chart
_BAD = "#b42318"


@dataclass(frozen=True)
class Mark:
    """A change of the model in production, drawn as an upright line."""

    at: datetime
    """When it happened, in UTC."""
    label: str
    """The model's version."""
    bad: bool = False
    """Whether production went back to an earlier model."""


@styled_chart
def trend_chart(
    kpis: Sequence[Kpi], marks: Sequence[Mark], baseline_until: str | None = None, form: Form = "svg"
) -> bytes:
    """Draws the monthly trends of KPIs that have one unit; a month without a value is a gap.

    Args:
        kpis: The KPIs. The goal of the first is drawn where it is in the trend's unit.
        marks: Changes of the model.
        baseline_until: The last day before the platform (ISO date); the time up to it is shaded. None: not shaded.
        form: The picture's format.
    """
    figure, axes = chart(_WIDTH, _HEIGHT)
    share = kpis[0].trend_unit == "share"
    times: list[datetime] = []
    drawn = False
    for i, kpi in enumerate(kpis):
        at = [_time(p) for p in kpi.trend]
        values = [float("nan") if p.value is None else p.value * (100 if share else 1) for p in kpi.trend]
        if any(v == v for v in values):
            colour = PALETTE[i % len(PALETTE)]
            label = kpi.trend_title if len(kpis) > 1 else None
            axes.plot(at, values, color=colour, linewidth=2, marker="o", markersize=5, label=label, zorder=4)  # type: ignore[arg-type]
            drawn = True
            times += at
    first = kpis[0]
    if drawn and first.goal is not None and first.unit == first.trend_unit:
        goal = first.goal * (100 if share else 1)
        axes.axhline(
            goal,
            color=PALETTE[2],
            linewidth=1.2,
            linestyle=(0, (2, 2)),
            label=f"goal {goal:g} {first.trend_unit if not share else '%'}",
            zorder=2,
        )
    if drawn:
        _time_axis(axes, times, marks, baseline_until)
        axes.set_ylim(0, 1.14 * max(axes.get_ylim()[1], 1e-9))  # room for the marks' labels
        axes.set_ylabel("%" if share else first.trend_unit)
    legend_or_note(axes, drawn, "nothing to show yet")
    return saved(figure, form)


@styled_chart
def drift_chart(reports: pd.DataFrame, bands: tuple[float, float], marks: Sequence[Mark], form: Form = "svg") -> bytes:
    """Draws the drift of each report, in %, at the end of its period; a report that could not compute it is a ring.

    Args:
        reports: Rows of the table `drift`.
        bands: The shares of traffic (0 to 1) from which a person approves, and from which nothing is retrained.
        marks: Changes of the model.
        form: The picture's format.
    """
    figure, axes = chart(_WIDTH, _HEIGHT)
    dated = reports.assign(at=pd.to_datetime(reports["window_to"], utc=True)).dropna(subset=["at"]).sort_values("at")
    computed = dated["computed"].fillna(False).astype(bool) & dated["drift"].notna()
    measured, gaps = dated[computed], dated[~computed]
    if len(measured):
        values = 100 * measured["drift"].astype(float)
        axes.plot(
            list(measured["at"]), list(values), color=PALETTE[0], linewidth=1.6, marker="o", markersize=5, zorder=4
        )
        for at, colour, words in ((bands[0], PALETTE[1], "a person approves"), (bands[1], _BAD, "no retraining")):
            axes.axhline(100 * at, color=colour, linewidth=1.2, linestyle=(0, (2, 2)), label=f"{100 * at:g} %: {words}")
    if len(gaps):
        axes.plot(list(gaps["at"]), [0] * len(gaps), "o", markerfacecolor="none", color=MUTED, label="not computed")
    if len(dated):
        _time_axis(axes, [t.to_pydatetime() for t in dated["at"]], marks, None)
        axes.set_ylim(bottom=-0.4, top=max(12.0, 118 * float(measured["drift"].max()) if len(measured) else 0))
        axes.set_ylabel("%")
    legend_or_note(axes, bool(len(dated)), "no drift report yet")
    return saved(figure, form)


@styled_chart
def model_chart(kpis: Sequence[Kpi], form: Form = "svg") -> bytes:
    """Draws figures of the last models that production served, in the order of the changes."""
    figure, axes = chart(_WIDTH, _HEIGHT)
    drawn = False
    for i, kpi in enumerate(kpis):
        values = [float("nan") if p.value is None else 100 * p.value for p in kpi.trend[-_MODELS:]]
        if any(v == v for v in values):
            axes.plot(
                range(len(values)), values, color=PALETTE[i], linewidth=2, marker="o", markersize=6, label=kpi.title
            )
            drawn = True
    if drawn:
        labels = [p.label for p in kpis[0].trend[-_MODELS:]]
        axes.set_xticks(range(len(labels)), labels)
        axes.set(xlim=(-0.5, len(labels) - 0.5), ylim=(0, 102), ylabel="%")
    legend_or_note(axes, drawn, "no model in production was evaluated yet")
    return saved(figure, form)


@styled_chart
def damage_chart(types: Sequence[DamageType], form: Form = "svg") -> bytes:
    """Draws the shares of the types of damage, in the labels and in the model's answers side by side."""
    figure, axes = chart(_WIDTH, _HEIGHT)
    drawn = any(t.labelled or t.answered for t in types)
    if drawn:
        rows = range(len(types))
        for shift, shares, counts, colour, label in (
            (-0.19, [t.labelled_share for t in types], [t.labelled for t in types], PALETTE[0], "in the labels"),
            (0.19, [t.answered_share for t in types], [t.answered for t in types], PALETTE[1], "in the answers"),
        ):
            if sum(counts) == 0:
                continue
            values = [100 * (s or 0.0) for s in shares]
            axes.barh([r + shift for r in rows], values, height=0.34, color=colour, label=label, zorder=3)
            for row, value, n in zip(rows, values, counts, strict=True):
                axes.annotate(
                    f"{value:.0f} % ({n:,})", (value, row + shift), xytext=(4, 0), textcoords="offset points",
                    va="center", fontsize=9, color=MUTED,
                )  # fmt: skip
        axes.set_yticks(list(rows), [t.name for t in types])
        axes.invert_yaxis()
        axes.grid(axis="y", visible=False)
        axes.set(xlim=(0, 118), xlabel="% of boxes")
        axes.set_xticks([0, 25, 50, 75, 100])
    legend_or_note(axes, drawn, "no box in labels or answers yet")
    return saved(figure, form)


def _time(point: Point) -> datetime:
    if point.at:
        return datetime.fromisoformat(point.at)
    return datetime.fromisoformat(f"{point.label}-15").replace(tzinfo=UTC)


def _time_axis(axes: Axes, times: Sequence[datetime], marks: Sequence[Mark], baseline_until: str | None) -> None:
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter, date2num

    locator = AutoDateLocator(maxticks=8, minticks=3)
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))
    # The points stand in the middle of their months: a change up to then belongs to the first of them.
    shown = sorted((m for m in marks if m.at >= min(times) - timedelta(days=16)), key=lambda m: m.at)
    ends = [*times, *(m.at for m in shown)]
    span = max(max(ends) - min(ends), timedelta(hours=12))
    low, high = min(ends) - 0.04 * span, max(ends) + 0.04 * span
    # Changes that stand closer than a label is wide share one label; the last of them needs its room at the right.
    groups: list[list[Mark]] = []
    for mark in shown:
        if groups and mark.at - groups[-1][0].at < 0.2 * span:
            groups[-1].append(mark)
        else:
            groups.append([mark])
    if groups:
        high = max(high, groups[-1][0].at + 0.2 * span)
    axes.set_xlim(date2num(low), date2num(high))
    if baseline_until is not None:
        border = datetime.combine(date.fromisoformat(baseline_until) + timedelta(days=1), datetime.min.time(), UTC)
        if low < border < high:
            axes.axvspan(date2num(low), date2num(border), color="#f1f4f7", zorder=0, linewidth=0)
            if border - low > 0.3 * span:
                axes.text(
                    date2num(border), 0.02, "before the platform ", transform=axes.get_xaxis_transform(),
                    ha="right", va="bottom", fontsize=8.5, color=MUTED,
                )  # fmt: skip
    for mark in shown:
        axes.axvline(date2num(mark.at), color=_BAD if mark.bad else MUTED, linewidth=1, linestyle=(0, (4, 3)), zorder=1)
    for group in groups:
        label = group[0].label if len(group) == 1 else f"{group[0].label} … {group[-1].label}"
        axes.annotate(
            label, (date2num(group[0].at), 1), xycoords=axes.get_xaxis_transform(), xytext=(3, -2),
            textcoords="offset points", ha="left", va="top", fontsize=8.5, color=_BAD if group[-1].bad else MUTED,
            bbox={"facecolor": "white", "alpha": 0.85, "edgecolor": "none", "pad": 0.8}, zorder=5,
        )  # fmt: skip
