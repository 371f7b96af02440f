"""business/kpis/warnings.py, business/kpis/summary.py: notes, warnings, and when the old figures end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from carsdepo_assets.business.ingest import ingest
from carsdepo_assets.business.kpis.base import Kpi
from carsdepo_assets.business.kpis.inputs import gather
from carsdepo_assets.business.kpis.summary import KpiSummary, kpi_summary
from carsdepo_assets.business.kpis.warnings import automation_without_accuracy
from carsdepo_assets.business.report import render_report
from carsdepo_assets.demo.sample.business_of_demo import business_before, business_of_answers
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.policy import BusinessPolicy, Policy
from carsdepo_assets.registry import ledger
from carsdepo_assets_tests.business.business_rows import NOW


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake.open(tmp_path / "lake")


DEFAULT = Policy()


def read(lake: Lake, policy: Policy = DEFAULT) -> tuple[KpiSummary, str]:
    facts = gather(lake, policy, NOW)
    result = kpi_summary(facts, policy)
    return result, render_report(facts, result, policy)


def promoted(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    """A first model in production, at NOW."""

    class Clock:
        @staticmethod
        def now(zone: Any) -> Any:
            return NOW

    with monkeypatch.context() as patched:
        patched.setattr(ledger, "datetime", Clock)
        ledger.record(lake, "production", "promote", digest="d1", version=1, actor="ada", reason="better")


@pytest.mark.slow
def test_the_demos_year_has_no_gain_before_its_first_model(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    promoted(lake, monkeypatch)
    files = business_before(NOW, listings_a_day=3.0) | business_of_answers(
        [
            {"listing": "L1", "at": NOW, "decision": "clear"},
            {"listing": "L1", "at": NOW, "decision": "needs_person"},
            {"listing": None, "at": NOW, "decision": "clear"},
        ]
    )
    for key, data in files.items():
        lake.put(f"raw/business/{key}", data)
    for kind in ("inspections", "transactions", "disputes"):
        ingest(lake, kind, Policy(), NOW)
    assert lake.read("quarantine").num_rows == 0
    result, page = read(lake)
    assert result.baseline_until == "2026-11-24"
    by_ml = lake.read("inspections", ["at", "images_by_ml", "images"]).to_pylist()
    assert sum(r["images_by_ml"] for r in by_ml if r["at"] < NOW) == 0
    assert [(r["images_by_ml"], r["images"]) for r in by_ml if r["at"] == NOW] == [(1, 2)]
    assert result.named("dispute_reduction_pct").value is None
    assert result.named("speed_improvement_pct").value is None
    assert any("which the demo writes" in note for note in result.notes)
    assert "Invented rows" in page
    assert dict(business_before(NOW, listings_a_day=3.0)) == {
        k: v for k, v in files.items() if not k.endswith("answered.csv")
    }


def test_gains_of_a_time_without_a_model_are_named(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    promoted(lake, monkeypatch)
    policy = Policy(business=BusinessPolicy(baseline_until="2026-06-30"))
    result, page = read(lake, policy)
    assert result.baseline_until == "2026-06-30"
    assert any("although no model was live" in note for note in result.notes)
    assert "although no model was live" in page
    assert not any("although no model was live" in note for note in read(lake)[0].notes)


def test_before_the_first_model_everything_is_old(lake: Lake) -> None:
    assert read(lake)[0].baseline_until == NOW.date().isoformat()


def kpi(name: str, value: float | None, unit: str = "share") -> Kpi:
    return Kpi(name, name, "accuracy", value, unit, 100, "boxes", "", "")


def figures(precision: float | None, live: float | None, recall: float | None = 0.9) -> list[Kpi]:
    return [
        kpi("precision", precision),
        kpi("precision_live", live),
        kpi("recall", recall),
        kpi("recall_live", None),
        kpi("automation_pct", 88.0, "%"),
        kpi("automation_answers_pct", None, "%"),
    ]


@pytest.mark.parametrize(
    ("precision", "live", "shown"),
    [
        (0.029, None, "precision is 2.9 % on test photographs, and the goal is at least 70 %"),
        (0.9, 0.5, "precision is 50.0 % in live use"),
        (None, None, "its precision is not known"),
        (0.9, None, None),
        (0.1, 0.9, None),
    ],
)
def test_automation_beside_a_poor_model_warns(precision: float | None, live: float | None, shown: str | None) -> None:
    warnings = automation_without_accuracy(figures(precision, live), BusinessPolicy().goals)
    assert len(warnings) == (shown is not None)
    if shown is not None:
        assert "88.0 % are decided without a person" in warnings[0]
        assert shown in warnings[0]


def test_without_goals_or_automation_nothing_is_asked() -> None:
    assert automation_without_accuracy(figures(0.029, None), {"automation_pct": 60.0}) == []
    nobody = [k for k in figures(0.029, None) if k.name != "automation_pct"] + [kpi("automation_pct", 0.0, "%")]
    assert automation_without_accuracy(nobody, BusinessPolicy().goals) == []
