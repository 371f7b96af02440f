"""A KPI: a figure with its unit, its goal, its trend and an explanation."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

from carsdepo_assets.business.periods import Point

Verdict = Literal["met", "missed", "unknown"]
Group = Literal["business", "accuracy", "service", "loop"]


@dataclass(frozen=True)
class Kpi:
    """One figure of the KPI report."""

    name: str
    """Its name in policy.business.goals and in JSON."""
    title: str
    """Its name for people."""
    group: Group
    """The part of the report to which it belongs."""
    value: float | None
    """The figure; None where it cannot be computed, and `explanation` says why."""
    unit: str
    """"%" (0 to 100), "share" (0 to 1), "ms", "points" or "1/s"."""
    n: int
    """How many rows, boxes or answers the value rests on."""
    n_of: str
    """What `n` counts."""
    formula: str
    """How the value is computed, for people."""
    explanation: str
    """From what it was computed, or why it could not be."""
    better: Literal["up", "down"] = "up"
    """Whether a higher or a lower value is better."""
    goal: float | None = None
    """The goal, in the value's unit; None: no goal is set."""
    verdict: Verdict | None = None
    """Whether the goal is met; None: no goal is set."""
    trend: tuple[Point, ...] = ()
    """The figure over time, in `trend_unit`."""
    trend_title: str = ""
    trend_unit: str = ""

    def value_text(self) -> str:
        """The value with its unit."""
        return with_unit(self.value, self.unit)

    def goal_text(self) -> str:
        """The goal with its unit, such as "at least 60 %"."""
        if self.goal is None:
            return "no goal"
        text = with_unit(self.goal, self.unit).replace(".0 ", " ")
        return f"{'at least' if self.better == 'up' else 'at most'} {text}"


def with_unit(value: float | None, unit: str) -> str:
    """A value with its unit for people; an en dash for None."""
    if value is None:
        return "–"
    match unit:
        case "share":
            return f"{100 * value:.1f} %"
        case "%":
            return f"{value:.1f} %"
        case "ms":
            return f"{value:,.0f} ms" if value >= 10 else f"{value:.1f} ms"
        case "1/s":
            return f"{value:.2f} / s"
        case "points":
            return f"{value:.1f} points"
        case _:
            return f"{value:,.2f} {unit}".rstrip()


def with_verdict(kpi: Kpi, goals: dict[str, float]) -> Kpi:
    """The KPI with its goal and verdict; rounding errors of floats do not make it miss a goal that it reaches."""
    goal = goals.get(kpi.name)
    if goal is None:
        return kpi
    if kpi.value is None or not math.isfinite(kpi.value):
        return replace(kpi, goal=goal, verdict="unknown")
    value = round(kpi.value, 9)
    met = value >= goal if kpi.better == "up" else value <= goal
    return replace(kpi, goal=goal, verdict="met" if met else "missed")


def ratio(part: float, whole: float, times: float = 1.0) -> float | None:
    """part / whole × times; None where `whole` is zero, or one of them is not finite."""
    if not (math.isfinite(part) and math.isfinite(whole)) or whole == 0:
        return None
    return times * part / whole


def improvement_pct(old: float | None, new: float | None) -> float | None:
    """(old − new) / old × 100: above zero where the figure fell. None where one is missing or `old` is zero."""
    if old is None or new is None:
        return None
    return ratio(old - new, old, 100.0)
