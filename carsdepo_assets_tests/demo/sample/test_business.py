"""demo/sample/business.py: the same bytes again, every file keeps the contract, and the KPIs show the story."""

from __future__ import annotations

import csv
import io
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from carsdepo_assets.business.contracts import CONTRACTS, KINDS
from carsdepo_assets.business.ingest import ingest
from carsdepo_assets.business.kpis.inputs import gather
from carsdepo_assets.business.kpis.summary import KpiSummary, kpi_summary
from carsdepo_assets.demo.sample.business import BusinessSample, business_sample, write_business
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.policy import BusinessPolicy, Policy

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
RULES = Policy(business=BusinessPolicy(baseline_until="2026-06-30"))


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> tuple[Lake, BusinessSample, KpiSummary]:
    lake = Lake.open(tmp_path_factory.mktemp("lake"))
    sample = write_business(lambda key, data: lake.put(f"raw/business/{key}", data))
    for kind in KINDS:
        ingest(lake, kind, Policy(), NOW)
    return lake, sample, kpi_summary(gather(lake, RULES, NOW), RULES)


def test_the_same_seed_gives_the_same_bytes(tmp_path: Path) -> None:
    first = write_business(tmp_path, seed=9, listings_a_day=1.0)
    assert dict(first.files) == dict(business_sample(9, listings_a_day=1.0).files)
    assert {str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*.csv")} == set(first.files)
    assert dict(first.files) != dict(business_sample(10, listings_a_day=1.0).files)


def test_twelve_months_of_each_in_the_contracts_columns() -> None:
    files = business_sample(listings_a_day=1.0).files
    months = ["2025-12.csv", *(f"2026-{m:02}.csv" for m in range(1, 12))]
    assert sorted(files) == sorted(f"{kind}/{month}" for kind in KINDS for month in months)
    for key, data in files.items():
        header = next(csv.reader(io.StringIO(data.decode())))
        assert header == CONTRACTS[key.split("/")[0]].names  # type: ignore[index]


@pytest.mark.slow
def test_sound_rows_come_in_and_dirty_ones_do_not(loaded: tuple[Lake, BusinessSample, KpiSummary]) -> None:
    lake, sample, summary = loaded
    for kind in KINDS:
        ids = set(lake.read(kind, [CONTRACTS[kind].id])[CONTRACTS[kind].id].to_pylist())
        assert len(ids) == sample.rows[kind]
    refused = lake.read("quarantine").to_pylist()
    assert len(refused) == sample.dirty == 8
    assert all("X-0" in r["detail"] or r["reason"] in ("missing", "not_a_time", "not_a_number") for r in refused)
    assert summary.orphans["transaction_id"].tolist() == ["T990001"]


@pytest.mark.slow
def test_the_story_shows_in_the_kpis(loaded: tuple[Lake, BusinessSample, KpiSummary]) -> None:
    """Better since July, worse in October, best in November; one goal is missed."""
    _, _, summary = loaded
    verdicts = {k.name: k.verdict for k in summary.kpis if k.group == "business"}
    assert verdicts == {
        "dispute_reduction_pct": "met", "speed_improvement_pct": "met", "cost_reduction_pct": "missed",
        "automation_pct": "met",
    }  # fmt: skip
    automation, disputes, cost = (
        {p.label: p.value or 0.0 for p in summary.named(n).trend}
        for n in ("automation_pct", "dispute_reduction_pct", "cost_reduction_pct")
    )
    assert all(automation[m] == 0 for m in automation if m < "2026-07")
    assert automation["2026-07"] < automation["2026-08"] < automation["2026-09"] > automation["2026-10"] + 20
    assert automation["2026-11"] > automation["2026-09"]
    assert disputes["2026-10"] > 1.5 * disputes["2026-09"]
    assert cost["2026-10"] > cost["2026-09"] > cost["2026-11"]


def test_what_lies_after_the_last_day_is_not_known_yet() -> None:
    files = business_sample(listings_a_day=2.0, until=date(2026, 3, 10)).files
    assert max(files) == "transactions/2026-03.csv"
    text = b"".join(files.values()).decode()
    assert "2026-03-09T" in text
    assert "2026-03-10T" not in text


@pytest.mark.parametrize(
    ("until", "a_day"), [(date(2025, 12, 1), 1.0), (date(2026, 12, 1), 1.0), (date(2026, 5, 1), 0.0)]
)
def test_outside_the_story_is_an_error(until: date, a_day: float) -> None:
    with pytest.raises(ValueError, match="must lie in the story"):
        business_sample(until=until, listings_a_day=a_day)
