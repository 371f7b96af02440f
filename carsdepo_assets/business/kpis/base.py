"""What a KPI is, and how it meets its goal."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

from carsdepo_assets.business.periods import Point

Verdict = Literal["met", "missed", "unknown"]
Group = Literal["business", "accuracy", "service", "loop"]


@dataclass(frozen=True)
class Kpi:
    """value None: a gap, and `explanation` says why. n counts what the value rests on (`n_of`).

    unit: "%" (0..100), "share" (0..1), "ms", "points", "1/s". verdict None: no goal is set. trend: what the value
    comes from, step by step, in `trend_unit`.
    """

    name: str
    title: str
    group: Group
    value: float | None
    unit: str
    n: int
    n_of: str
    formula: str
    explanation: str
    better: Literal["up", "down"] = "up"
    goal: float | None = None
    verdict: Verdict | None = None
    trend: tuple[Point, ...] = ()
    trend_title: str = ""
    trend_unit: str = ""

    def said(self) -> str:
        return spoken(self.value, self.unit)

    def goal_said(self) -> str:
        if self.goal is None:
            return "no goal"
        said = spoken(self.goal, self.unit).replace(".0 ", " ")
        return f"{'at least' if self.better == 'up' else 'at most'} {said}"


def spoken(value: float | None, unit: str) -> str:
    """The value with its unit, as one would write it; an en dash for None."""
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


def judged(kpi: Kpi, goals: dict[str, float]) -> Kpi:
    """With its goal and verdict. A value that reaches its goal but for float's last digits meets it."""
    goal = goals.get(kpi.name)
    if goal is None:
        return kpi
    if kpi.value is None or not math.isfinite(kpi.value):
        return replace(kpi, goal=goal, verdict="unknown")
    value = round(kpi.value, 9)
    met = value >= goal if kpi.better == "up" else value <= goal
    return replace(kpi, goal=goal, verdict="met" if met else "missed")


def ratio(part: float, whole: float, times: float = 1.0) -> float | None:
    """part / whole × times; None where whole is zero or a number is missing."""
    if not (math.isfinite(part) and math.isfinite(whole)) or whole == 0:
        return None
    return times * part / whole


def improvement_pct(old: float | None, new: float | None) -> float | None:
    """(old − new) / old × 100: above zero where it fell. None where one is missing or old is zero."""
    if old is None or new is None:
        return None
    return ratio(old - new, old, 100.0)
