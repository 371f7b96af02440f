"""All KPIs of one moment, judged by the policy's goals."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import pandas as pd

from carsdepo_assets.business.kpis import business, model, warnings
from carsdepo_assets.business.kpis.base import Kpi, judged
from carsdepo_assets.business.kpis.inputs import KpiInputs
from carsdepo_assets.business.kpis.model import DamageType
from carsdepo_assets.policy import BusinessPolicy, Policy


@dataclass(frozen=True)
class KpiSummary:
    """notes: what the reader must know and no KPI says. warnings: figures that mislead when they are read alone.

    orphans: disputes whose sale is not known. baseline_until: ISO date, the last day before the platform.
    """

    kpis: tuple[Kpi, ...]
    damage_types: tuple[DamageType, ...]
    orphans: pd.DataFrame
    notes: tuple[str, ...]
    warnings: tuple[str, ...]
    baseline_until: str

    def count(self, verdict: str) -> int:
        return Counter(k.verdict for k in self.kpis)[verdict]  # type: ignore[index]

    def named(self, name: str) -> Kpi:
        return next(k for k in self.kpis if k.name == name)

    def goals_said(self) -> str:
        goals = sum(k.goal is not None for k in self.kpis)
        said = [f"{self.count('met')} of {goals} goals are met"]
        if self.count("missed"):
            said.append(f"{self.count('missed')} missed")
        if self.count("unknown"):
            said.append(f"{self.count('unknown')} cannot be told yet")
        return ", ".join(said)

    def gains_said(self) -> str:
        """What the business asks first, as far as it can be said."""
        said = []
        for name, words in (
            ("dispute_reduction_pct", "pricing disputes"),
            ("speed_improvement_pct", "days to a sale"),
            ("cost_reduction_pct", "inspection cost"),
        ):
            value = self.named(name).value
            if value is not None:
                said.append(f"{words} {'down' if value >= 0 else 'up'} {abs(value):.0f} %")
        automation = self.named("automation_pct").value
        if automation is not None:
            said.append(f"{automation:.0f} % of images inspected by ML")
        return "; ".join(said)

    def summary(self) -> str:
        """One sentence, and the warnings."""
        return " ".join(["; ".join(filter(None, [self.goals_said(), self.gains_said()])) + ".", *self.warnings])


def kpi_summary(facts: KpiInputs, policy: Policy) -> KpiSummary:
    """Pure: the same facts and policy give the same KPIs."""
    rules, now = policy.business, facts.now
    baseline = baseline_until(facts, rules)
    live_since = facts.changes[0].at if facts.changes else None
    accuracy = [*model.quality(facts.models), *model.live_quality(facts.live, facts.models)]
    found = [
        business.dispute_reduction(facts.transactions, facts.disputes, rules, now, baseline, live_since),
        business.speed_improvement(facts.transactions, rules, now, baseline, live_since),
        business.cost_reduction(facts.inspections, rules, now, baseline, live_since),
        business.automation(facts.inspections, rules, now, live_since),
        *accuracy,
        model.live_gap(accuracy),
        *model.latency(facts.answers, rules, now),
        model.throughput(facts.answers, rules, now),
        model.automation_of_answers(facts.answers, rules, now),
        model.labelled(facts.images, facts.first_labels, now),
        model.drift(facts.drift, now),
    ]
    goals = {"live_gap_points": rules.error_tolerance_points, **rules.goals}
    unknown = sorted(set(goals) - {k.name for k in found})
    notes = []
    if unknown:
        notes.append(
            f"policy.business.goals names {', '.join(unknown)}, which no KPI is called. "
            f"KPIs: {', '.join(k.name for k in found)}."
        )
    if facts.stray:
        shown = ", ".join(facts.stray[:5]) + (" …" if len(facts.stray) > 5 else "")
        notes.append(
            f"{len(facts.stray)} files lie in raw/business/ outside inspections/, transactions/ and disputes/, "
            f"where nothing reads them: {shown}."
        )
    notes += warnings.invented(facts)
    notes += warnings.gains_without_a_model(facts, baseline)
    orphans = facts.disputes[~facts.disputes["transaction_id"].isin(facts.transactions["transaction_id"])]
    kpis_judged = tuple(judged(k, goals) for k in found)
    return KpiSummary(
        kpis_judged,
        model.damage_types(facts.label_boxes, facts.answer_boxes, policy.class_map.names),
        orphans[["dispute_id", "transaction_id", "opened_at", "cause", "file", "line"]],
        tuple(notes),
        tuple(warnings.automation_without_accuracy(kpis_judged, goals)),
        baseline,
    )


def baseline_until(facts: KpiInputs, policy: BusinessPolicy) -> str:
    """The policy's day; else the day on which production served its first model, since no earlier gain can be its own
    and the sales of that day were made before it. Without a model everything lies before the platform."""
    if policy.baseline_until is not None:
        return policy.baseline_until
    first = (facts.changes[0].at if facts.changes else facts.now).date()
    return first.isoformat()
