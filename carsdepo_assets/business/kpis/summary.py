"""Computes all KPIs of one moment and compares them with the policy's goals."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import pandas as pd

from carsdepo_assets.business.kpis import business, model, warnings
from carsdepo_assets.business.kpis.base import Kpi, with_verdict
from carsdepo_assets.business.kpis.inputs import KpiInputs
from carsdepo_assets.business.kpis.model import DamageType
from carsdepo_assets.policy import BusinessPolicy, Policy


@dataclass(frozen=True)
class KpiSummary:
    """The KPIs of one moment, and what a reader must know besides."""

    kpis: tuple[Kpi, ...]
    damage_types: tuple[DamageType, ...]
    orphans: pd.DataFrame
    """Disputes that name a sale which is not in `transactions`."""
    notes: tuple[str, ...]
    """Sentences on the data, such as goals that no KPI has, or rows that the demo invented."""
    warnings: tuple[str, ...]
    """Sentences on figures that would mislead when they are read alone."""
    baseline_until: str
    """The last day before the platform, as an ISO date."""

    def count(self, verdict: str) -> int:
        """How many KPIs have this verdict: "met", "missed" or "unknown"."""
        return Counter(k.verdict for k in self.kpis)[verdict]  # type: ignore[index]

    def named(self, name: str) -> Kpi:
        """The KPI of that name."""
        return next(k for k in self.kpis if k.name == name)

    def goals_sentence(self) -> str:
        """How many goals are met, missed, and without a value yet."""
        goals = sum(k.goal is not None for k in self.kpis)
        parts = [f"{self.count('met')} of {goals} goals are met"]
        if self.count("missed"):
            parts.append(f"{self.count('missed')} missed")
        if self.count("unknown"):
            parts.append(f"{self.count('unknown')} have no value yet")
        return ", ".join(parts)

    def gains_sentence(self) -> str:
        """The changes since the platform, as far as they have a value: disputes, days to a sale, cost, automation."""
        parts = []
        for name, words in (
            ("dispute_reduction_pct", "pricing disputes"),
            ("speed_improvement_pct", "days to a sale"),
            ("cost_reduction_pct", "inspection cost"),
        ):
            value = self.named(name).value
            if value is not None:
                parts.append(f"{words} {'down' if value >= 0 else 'up'} {abs(value):.0f} %")
        automation = self.named("automation_pct").value
        if automation is not None:
            parts.append(f"{automation:.0f} % of images inspected by ML")
        return "; ".join(parts)

    def summary(self) -> str:
        """Goals and changes in one sentence, followed by the warnings."""
        return " ".join(["; ".join(filter(None, [self.goals_sentence(), self.gains_sentence()])) + ".", *self.warnings])


def kpi_summary(inputs: KpiInputs, policy: Policy) -> KpiSummary:
    """Computes the KPIs, which depend on the inputs and the policy alone."""
    business_policy, now = policy.business, inputs.now
    baseline = baseline_until(inputs, business_policy)
    live_since = inputs.changes[0].at if inputs.changes else None
    accuracy = [*model.quality(inputs.models), *model.live_quality(inputs.live, inputs.models)]
    kpis = [
        business.dispute_reduction(inputs.transactions, inputs.disputes, business_policy, now, baseline, live_since),
        business.speed_improvement(inputs.transactions, business_policy, now, baseline, live_since),
        business.cost_reduction(inputs.inspections, business_policy, now, baseline, live_since),
        business.automation(inputs.inspections, business_policy, now, live_since),
        *accuracy,
        model.live_gap(accuracy),
        *model.latency(inputs.answers, business_policy, now),
        model.throughput(inputs.answers, business_policy, now),
        model.automation_of_answers(inputs.answers, business_policy, now),
        model.labelled(inputs.images, inputs.first_labels, now),
        model.drift(inputs.drift, now),
    ]
    goals = {"live_gap_points": business_policy.error_tolerance_points, **business_policy.goals}
    unknown = sorted(set(goals) - {k.name for k in kpis})
    notes = []
    if unknown:
        notes.append(
            f"policy.business.goals names {', '.join(unknown)}, which no KPI is called. "
            f"KPIs: {', '.join(k.name for k in kpis)}."
        )
    if inputs.stray:
        shown = ", ".join(inputs.stray[:5]) + (" …" if len(inputs.stray) > 5 else "")
        notes.append(
            f"{len(inputs.stray)} files lie in raw/business/ outside inspections/, transactions/ and disputes/, "
            f"where nothing reads them: {shown}."
        )
    notes += warnings.invented(inputs)
    notes += warnings.gains_without_a_model(inputs, baseline)
    orphans = inputs.disputes[~inputs.disputes["transaction_id"].isin(inputs.transactions["transaction_id"])]
    kpis_judged = tuple(with_verdict(k, goals) for k in kpis)
    return KpiSummary(
        kpis_judged,
        model.damage_types(inputs.label_boxes, inputs.answer_boxes, policy.class_map.names),
        orphans[["dispute_id", "transaction_id", "opened_at", "cause", "file", "line"]],
        tuple(notes),
        tuple(warnings.automation_without_accuracy(kpis_judged, goals)),
        baseline,
    )


def baseline_until(inputs: KpiInputs, policy: BusinessPolicy) -> str:
    """The last day before the platform, as an ISO date.

    It is the policy's, where it names one. Otherwise it is the day on which production served its first model: no gain
    before that can be the platform's. Without any model it is today.
    """
    if policy.baseline_until is not None:
        return policy.baseline_until
    first = (inputs.changes[0].at if inputs.changes else inputs.now).date()
    return first.isoformat()
