"""Makes the KPI report: one HTML page that can be sent by mail, and a JSON file with its figures."""

from __future__ import annotations

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
from carsdepo_assets.reporting.publish import ReportSummary, publish

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
    """Where a KPI report was stored, and its charts for Dagster's UI."""

    html_key: str
    """Key of the page in the lake."""
    json_key: str
    """Key of the JSON file with the figures."""
    pictures: dict[str, bytes]
    """PNG charts by what they show."""


def write_report(lake: Lake, inputs: KpiInputs, summary: KpiSummary, policy: Policy) -> WrittenKpiReport:
    """Stores the report as reports/kpi/<UTC time>.html and .json.

    Args:
        lake: The lake.
        inputs: What the KPIs were computed from.
        summary: The KPIs.
        policy: The policy with the goals.
    """
    base = f"reports/kpi/{inputs.now:%Y%m%dT%H%M%SZ}"
    report_summary = ReportSummary(
        title=TITLE, at=inputs.now, summary=summary.summary(), figures={k.name: k.value for k in summary.kpis}
    )
    details = {
        "kpis": [asdict(k) for k in summary.kpis],
        "damage_types": [asdict(t) for t in summary.damage_types],
        "notes": list(summary.notes),
        "warnings": list(summary.warnings),
        "policy_digest": policy.digest(),
    }
    publish(lake, base, render_report(inputs, summary, policy), report_summary, details)
    marks = marks_of(inputs.changes)
    until = summary.baseline_until
    pictures = {
        "disputes": trend_chart([summary.named("dispute_reduction_pct")], marks, until, "png"),
        "days_to_sale": trend_chart([summary.named("speed_improvement_pct")], marks, until, "png"),
        "images_by_ml": trend_chart([summary.named("automation_pct")], marks, until, "png"),
    }
    return WrittenKpiReport(f"{base}.html", f"{base}.json", pictures)


def render_report(inputs: KpiInputs, summary: KpiSummary, policy: Policy) -> str:
    """The page as HTML; every text in it is escaped."""
    marks, until = marks_of(inputs.changes), summary.baseline_until
    drift = policy.monitoring

    def trends(*names: str, old: bool = True) -> str:
        return data_uri(trend_chart([summary.named(n) for n in names], marks, until if old else None))

    def one(name: str, old: bool = True) -> tuple[str, str, str]:
        kpi = summary.named(name)
        return kpi.trend_title, trends(name, old=old), kpi.explanation

    charts: list[tuple[str, str, str]] = [
        one("dispute_reduction_pct"),
        one("speed_improvement_pct"),
        one("cost_reduction_pct"),
        one("automation_pct"),
        (
            "Accuracy of each model in production",
            data_uri(model_chart([summary.named(n) for n in ("map50", "precision", "recall")])),
            _judged_on(inputs),
        ),
        (
            "Damage by type",
            data_uri(damage_chart(summary.damage_types)),
            f"Boxes in the labels that count, and in the answers of the last {policy.business.window_days} days.",
        ),
        (
            "Drift",
            data_uri(drift_chart(inputs.drift, (drift.retrain_below, drift.no_retraining_from), marks)),
            "Share of the traffic whose mix changed, at least: the worst feature of each report.",
        ),
    ]
    if summary.named("f1_live").trend:
        picture = trends("precision_live", "recall_live", old=False)
        charts.append(("Accuracy in live use", picture, summary.named("f1_live").explanation))
    if summary.named("latency_p95_ms").trend:
        picture = trends("latency_p50_ms", "latency_p95_ms", "latency_p99_ms", old=False)
        charts.append(("Time of an answer", picture, summary.named("latency_p95_ms").explanation))
    if summary.named("labelled_pct").trend:
        charts.append(one("labelled_pct", old=False))
    return render(
        Path(__file__).parent,
        "report.html",
        title=TITLE,
        now=inputs.now,
        summary=summary,
        gains=summary.gains_sentence(),
        goals=_goals(summary),
        headlines=[summary.named(n) for n in _HEADLINES],
        charts=charts,
        groups=[(title, [k for k in summary.kpis if k.group == group]) for group, title in _GROUPS.items()],
        changes=[_change(e) for e in reversed(inputs.changes)],
        business=policy.business,
        until=until,
    )


def marks_of(changes: Sequence[Event]) -> list[Mark]:
    """The changes of the model in production as marks of a chart; rollbacks are bad ones."""
    return [
        Mark(e.at, _version(e) + (" back" if e.action == "rollback" else ""), e.action == "rollback") for e in changes
    ]


def _version(event: Event) -> str:
    return f"v{event.version}" if event.version is not None else str(event.digest)[:8]


def _change(event: Event) -> dict[str, Any]:
    what = "back to" if event.action == "rollback" else "promoted"
    return {"at": event.at, "what": f"{what} {_version(event)}", "actor": event.actor, "reason": event.reason}


def _judged_on(inputs: KpiInputs) -> str:
    golden = sorted({m.golden for m in inputs.models if m.evaluation is not None})
    if len(golden) > 1:
        return "On test photographs; the golden set grew meanwhile, so models on different versions compare roughly."
    return "On test photographs that the training never saw."


def _goals(summary: KpiSummary) -> dict[str, list[Kpi]]:
    return {v: [k for k in summary.kpis if k.verdict == v] for v in ("met", "missed", "unknown")}
