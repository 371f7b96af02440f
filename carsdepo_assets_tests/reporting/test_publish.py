"""reporting/publish.py: what a report is stored as, and what older reports are read as."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pydantic import ValidationError

from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.reporting.publish import ReportSummary, publish

AT = datetime(2026, 11, 25, 9, tzinfo=UTC)


def test_a_report_is_a_page_and_a_summary_with_details_that_reads_back(tmp_path: Path) -> None:
    lake = Lake.open(tmp_path)
    summary = ReportSummary(title="Gate", at=AT, summary="promote", figures={"map50": 0.5, "boxes": 3, "f1": None})
    page = publish(lake, "reports/gate/a", "<p>page", summary, {"golden": 2, "at_folder": tmp_path})
    assert (page, lake.get(page)) == ("reports/gate/a.html", b"<p>page")
    stored = lake.get("reports/gate/a.json")
    assert ReportSummary.model_validate_json(stored) == summary
    assert json.loads(stored) == {
        "title": "Gate",
        "at": "2026-11-25T09:00:00Z",
        "summary": "promote",
        "figures": {"map50": 0.5, "boxes": 3, "f1": None},
        "golden": 2,
        "at_folder": str(tmp_path),
    }


@pytest.mark.parametrize(
    ("stored", "summary"),
    [
        ({}, ReportSummary()),
        ({"title": None, "verdict": "passed", "figures": 3}, ReportSummary(summary="passed")),
        ({"at": "2026-11-25T09:00:00", "candidate": {}}, ReportSummary(at=AT)),
        ({"figures": {"a": 1, "b": "x", "c": float("nan"), "d": None}}, ReportSummary(figures={"a": 1, "d": None})),
    ],
)
def test_files_of_older_releases_may_lack_fields(stored: dict[str, object], summary: ReportSummary) -> None:
    assert ReportSummary.model_validate_json(json.dumps(stored)) == summary


@pytest.mark.parametrize("text", ["", "[]", '{"title": ', '{"at": 7}', '{"at": "noon"}'])
def test_what_is_no_summary_is_refused(text: str) -> None:
    with pytest.raises(ValidationError):
        ReportSummary.model_validate_json(text)
