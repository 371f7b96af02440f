"""business/report.py, kpis/inputs.py: the right rows are read, gaps have reasons, and the page is whole."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from carsdepo_assets.business.ingest import ingest
from carsdepo_assets.business.kpis.inputs import gather
from carsdepo_assets.business.kpis.summary import KpiSummary, kpi_summary
from carsdepo_assets.business.report import marks_of, render_report, write_report
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.policy import BusinessPolicy, Policy
from carsdepo_assets_tests.business.business_rows import NOW, at, drop
from carsdepo_assets_tests.business.platform import D1, D2, answered, box, changed, evaluated, platform

RULES = Policy(business=BusinessPolicy(baseline_until="2026-06-30"))


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake.open(tmp_path / "lake")


def summary_of(lake: Lake, policy: Policy = RULES) -> KpiSummary:
    return kpi_summary(gather(lake, policy, NOW), policy)


def test_an_empty_lake_is_all_gaps_with_reasons_and_still_a_page(lake: Lake) -> None:
    facts = gather(lake, RULES, NOW)
    summary = kpi_summary(facts, RULES)
    assert all(k.value is None and k.explanation and k.verdict in (None, "unknown") for k in summary.kpis)
    assert summary.count("unknown") == len(RULES.business.goals) + 1  # with the tolerated error
    assert summary.summary() == "0 of 9 goals are met, 9 have no value yet."
    page = render_report(facts, summary, RULES)
    assert "No model has been in production yet" in page
    assert "Goals without a value yet" in page


def test_the_platforms_record_is_read(lake: Lake) -> None:
    platform(lake)
    summary = summary_of(lake)
    values = {k.name: k.value for k in summary.kpis}
    assert values["map50"] == 0.6
    assert values["latency_p95_ms"] == 40.0
    assert values["automation_answers_pct"] == 100.0
    assert values["throughput_per_s"] == 0.5
    assert values["labelled_pct"] == 25.0
    assert values["drift_pct"] == pytest.approx(3.0)
    # The later row of a day counts: 8 of 10, not 1 of 10.
    assert values["precision_live"] == 0.8
    assert [(t.name, t.labelled, t.answered) for t in summary.damage_types] == [("scratch", 1, 0), ("dent", 0, 30)]


def test_only_production_answers_count_and_only_boxes_at_the_threshold(lake: Lake) -> None:
    platform(lake)
    low, old = {"at": at("2026-11-20T11:00"), "boxes": [box(0, 0.49), box(0, 0.5)]}, {"at": at("2026-10-01T11:00")}
    answered(lake, "b", low, old | {"boxes": [box(0, 0.9)]}, low | {"stage": "staging"}, low | {"boxes": None})
    summary = summary_of(lake)
    assert summary.damage_types[0].answered == 1
    assert summary.named("automation_answers_pct").n == 32


def test_the_newest_labels_of_a_photograph_count(lake: Lake) -> None:
    platform(lake)
    later = {"image_id": "0", "created_at": at("2026-11-03"), "sequence": 2, "boxes": [box(1), box(1)]}
    lake.append("annotations", [later], "later")
    assert [t.labelled for t in summary_of(lake).damage_types] == [0, 2]


def test_after_a_rollback_the_earlier_models_figures_are_shown(lake: Lake) -> None:
    platform(lake)
    changed(lake, 3, "2026-11-01T09:00", "rollback", D1, 1)
    kpi = summary_of(lake).named("map50")
    assert (kpi.value, [p.label for p in kpi.trend]) == (0.5, ["v1", "v2", "v1"])
    assert [(m.label, m.bad) for m in marks_of(gather(lake, RULES, NOW).changes)] == [
        ("v1", False), ("v2", False), ("v1 back", True),
    ]  # fmt: skip


def test_of_several_evaluations_the_one_on_the_newest_golden_set_counts(lake: Lake) -> None:
    platform(lake)
    evaluated(lake, D2, 2, "2026-10-05T08:00", map50=0.4)
    evaluated(lake, D2, 1, "2026-10-09T08:00", map50=0.9)
    kpi = summary_of(lake).named("map50")
    assert kpi.value == 0.4
    assert "golden set 2" in kpi.explanation


def test_a_promoted_model_without_evaluation_is_named(lake: Lake) -> None:
    changed(lake, 1, "2026-07-01T09:00", "promote", D1, 4)
    kpi = summary_of(lake).named("precision")
    assert (kpi.value, kpi.verdict) == (None, "unknown")
    assert "Model v4 has no evaluation" in kpi.explanation


def test_a_goal_that_no_kpi_has_and_stray_files_are_noted(lake: Lake) -> None:
    lake.put("raw/business/inspection/a.csv", b"x")
    policy = Policy(business=BusinessPolicy(goals={"dispute_reductoin_pct": 20.0}))
    first, second = summary_of(lake, policy).notes
    assert "dispute_reductoin_pct, which no KPI is called" in first
    assert "raw/business/inspection/a.csv" in second


def test_disputes_of_unknown_sales_are_listed(lake: Lake) -> None:
    drop(lake, "transactions", "a.csv", "T1,L1,2026-05-01,2026-05-20,9900,EUR")
    drop(lake, "disputes", "a.csv", "D1,T1,2026-05-21,damage,1,EUR", "D2,T2,2026-05-21,damage,1,EUR")
    for kind in ("transactions", "disputes"):
        ingest(lake, kind, RULES, NOW)
    assert summary_of(lake).orphans["dispute_id"].tolist() == ["D2"]


@pytest.mark.slow
def test_page_and_json_say_the_same_and_need_nothing_beside(lake: Lake) -> None:
    platform(lake)
    facts = gather(lake, RULES, NOW)
    summary = kpi_summary(facts, RULES)
    written = write_report(lake, facts, summary, RULES)
    assert written.html_key == "reports/kpi/20261124T120000Z.html"
    page = lake.get(written.html_key).decode()
    stored = json.loads(lake.get(written.json_key))
    assert set(stored) >= {"title", "at", "summary", "figures"}
    assert stored["figures"] == {k.name: k.value for k in summary.kpis}
    assert all(k.name in page and k.value_text() in page for k in summary.kpis)
    assert "<b>better</b>" not in page
    assert "&lt;b&gt;better" in page
    assert re.findall(r'(?:src|href)="(?!data:)', page) == []
    assert all(png.startswith(b"\x89PNG") and len(png) < 100_000 for png in written.pictures.values())


def test_model_changes_stand_in_the_charts(lake: Lake) -> None:
    from carsdepo_assets.business.charts import trend_chart

    platform(lake)
    drop(
        lake, "inspections", "a.csv", "I1,L1,2026-02-01,8,0,12,30,EUR", "I2,L2,2026-08-01,8,4,12,20,EUR",
        "I3,L3,2026-11-20,8,6,12,15,EUR",
    )  # fmt: skip
    ingest(lake, "inspections", RULES, NOW)
    facts = gather(lake, RULES, NOW)
    kpi = kpi_summary(facts, RULES).named("automation_pct")
    with_marks = trend_chart([kpi], marks_of(facts.changes), "2026-06-30").decode()
    assert all(re.search(f">{label} ?</text>", with_marks) for label in ("v1", "v2", "before the platform"))
    assert ">v1</text>" not in trend_chart([kpi], [], "2026-06-30").decode()
