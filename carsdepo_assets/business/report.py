"""The KPIs as one HTML page that can be sent to whoever pays for it, and its figures as JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from carsdepo_assets.business.charts import Mark, damage_chart, drift_chart, model_chart, trend_chart
from carsdepo_assets.business.kpis.base import Kpi
from carsdepo_assets.business.kpis.inputs import KpiInputs
from carsdepo_assets.business.kpis.summary import KpiSummary
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.policy import Policy
from carsdepo_assets.registry.ledger import Event
from carsdepo_assets.reporting.page import data_uri, render

TITLE = "Carsdepo: key figures"
_HEADLINES = (
    "dispute_reduction_pct",
    "speed_improvement_pct",
    "cost_reduction_pct",
    "automation_pct",
    "precision",
    "recall",
    "latency_p95_ms",
    "labelled_pct",
)
_GROUPS = {
    "business": "Business",
    "accuracy": "Accuracy of the model in production",
    "service": "The service",
    "loop": "Labels and drift",
}


@dataclass(frozen=True)
class WrittenKpiReport:
    html_key: str
    json_key: str
    pictures: dict[str, bytes]  # PNG by what they show


def write_report(lake: Lake, facts: KpiInputs, found: KpiSummary, policy: Policy) -> WrittenKpiReport:
    """reports/kpi/<UTC time>.html, then, last, the .json that the site lists."""
    base = f"reports/kpi/{facts.now:%Y%m%dT%H%M%SZ}"
    lake.put(f"{base}.html", render_report(facts, found, policy).encode())
    said = {
        "title": TITLE,
        "at": facts.now.isoformat(),
        "summary": found.summary(),
        "figures": {k.name: k.value for k in found.kpis},
        "kpis": [asdict(k) for k in found.kpis],
        "damage_types": [asdict(t) for t in found.damage_types],
        "notes": list(found.notes),
        "warnings": list(found.warnings),
        "policy_digest": policy.digest(),
    }
    lake.put(f"{base}.json", json.dumps(said, indent=1, allow_nan=False).encode())
    marks = marks_of(facts.changes)
    until = found.baseline_until
    pictures = {
        "disputes": trend_chart([found.named("dispute_reduction_pct")], marks, until, "png"),
        "days_to_sale": trend_chart([found.named("speed_improvement_pct")], marks, until, "png"),
        "images_by_ml": trend_chart([found.named("automation_pct")], marks, until, "png"),
    }
    return WrittenKpiReport(f"{base}.html", f"{base}.json", pictures)


def render_report(facts: KpiInputs, found: KpiSummary, policy: Policy) -> str:
    """The page. Every text in it is escaped."""
    marks, until = marks_of(facts.changes), found.baseline_until
    drift = policy.monitoring

    def trends(*names: str, old: bool = True) -> str:
        return data_uri(trend_chart([found.named(n) for n in names], marks, until if old else None))

    def one(name: str, old: bool = True) -> tuple[str, str, str]:
        kpi = found.named(name)
        return kpi.trend_title, trends(name, old=old), kpi.explanation

    charts: list[tuple[str, str, str]] = [
        one("dispute_reduction_pct"),
        one("speed_improvement_pct"),
        one("cost_reduction_pct"),
        one("automation_pct"),
        (
            "Accuracy of each model in production",
            data_uri(model_chart([found.named(n) for n in ("map50", "precision", "recall")])),
            _judged_on(facts),
        ),
        (
            "Damage by type",
            data_uri(damage_chart(found.damage_types)),
            f"Boxes in the labels that count, and in the answers of the last {policy.business.window_days} days.",
        ),
        (
            "Drift",
            data_uri(drift_chart(facts.drift, (drift.retrain_below, drift.no_retraining_from), marks)),
            "Share of the traffic whose mix changed, at least: the worst feature of each report.",
        ),
    ]
    if found.named("f1_live").trend:
        picture = trends("precision_live", "recall_live", old=False)
        charts.append(("Accuracy in live use", picture, found.named("f1_live").explanation))
    if found.named("latency_p95_ms").trend:
        picture = trends("latency_p50_ms", "latency_p95_ms", "latency_p99_ms", old=False)
        charts.append(("Time of an answer", picture, found.named("latency_p95_ms").explanation))
    if found.named("labelled_pct").trend:
        charts.append(one("labelled_pct", old=False))
    return render(
        Path(__file__).parent,
        "report.html",
        title=TITLE,
        now=facts.now,
        found=found,
        gains=found.gains_said(),
        goals=_goals(found),
        headlines=[found.named(n) for n in _HEADLINES],
        charts=charts,
        groups=[(title, [k for k in found.kpis if k.group == group]) for group, title in _GROUPS.items()],
        changes=[_change(e) for e in reversed(facts.changes)],
        business=policy.business,
        until=until,
    )


def marks_of(changes: Sequence[Event]) -> list[Mark]:
    return [
        Mark(e.at, _version(e) + (" back" if e.action == "rollback" else ""), e.action == "rollback") for e in changes
    ]


def _version(event: Event) -> str:
    return f"v{event.version}" if event.version is not None else str(event.digest)[:8]


def _change(event: Event) -> dict[str, Any]:
    what = "back to" if event.action == "rollback" else "promoted"
    return {"at": event.at, "what": f"{what} {_version(event)}", "actor": event.actor, "reason": event.reason}


def _judged_on(facts: KpiInputs) -> str:
    golden = sorted({m.golden for m in facts.models if m.evaluation is not None})
    if len(golden) > 1:
        return "On test photographs; the golden set grew meanwhile, so models on different versions compare roughly."
    return "On test photographs that the training never saw."


def _goals(found: KpiSummary) -> dict[str, list[Kpi]]:
    return {v: [k for k in found.kpis if k.verdict == v] for v in ("met", "missed", "unknown")}
