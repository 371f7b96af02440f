"""release/gate_report.py: the page is whole and escaped, with the verdict first; the picture fits the UI."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.policy import GatePolicy, Policy
from carsdepo_assets.release.gate import GateInputs, Verdict, gate_verdict
from carsdepo_assets.release.gate_checks import points
from carsdepo_assets.release.gate_report import Page, differences_png, froc_png, render_gate
from carsdepo_assets.release.run_gate import gate_row, newest_verdict_on
from carsdepo_assets.reporting.charts import Form
from carsdepo_assets.scoring.paired import AtFooting, Footing
from carsdepo_assets_tests.release.scored import golden, scored

pytestmark = pytest.mark.slow

STATE = GateInputs("91ad2b7c03aa41fe", "77c0b1a2d3e4f506", 2, "0123456789abcdef", "9f8e7d6c5b4a", "2026-11-25T00:03:23")
AT = ("its own threshold", "the footing")
MOMENT = datetime(2026, 11, 25, tzinfo=UTC)


def verdict(boxes: int, skills: tuple[float | None, float], camera: str = "Pixel 8", **gate: Any) -> Verdict:
    truths, groups = golden(boxes, boxes // 4, seed=4)
    old, new = skills
    return gate_verdict(
        None if old is None else scored(truths, groups, old, seed=1),
        scored(truths, groups, new, seed=2),
        ("scratch", "dent"),
        (None if old is None else 0.4, 0.45),
        Policy(gate=GatePolicy(resamples=100, slice_min_boxes=100, **gate)),
        latency_p95_ms=61.2,
        parity=0.9985,
        slices={"camera": [camera if i % 3 else None for i in range(boxes)]},
    )


def page(outcome: Verdict, state: GateInputs = STATE) -> str:
    return render_gate(Page("g-1", state, outcome, MOMENT, version=4, champion_version=3, runtime="openvino"))


@pytest.mark.parametrize(
    ("skills", "heading"),
    [((0.6, 0.95), "Promote"), ((0.9, 0.5), "Reject"), ((0.75, 0.77), "Undecided")],
)
def test_verdict_reasons_and_figures_are_there(skills: tuple[float, float], heading: str) -> None:
    outcome = verdict(1200, skills)
    html = page(outcome)
    assert outcome.verdict == heading.lower()
    assert f"<strong>{heading}" in html
    assert outcome.reasons[0] in html
    assert html.count("data:image/svg+xml") == 2
    assert f"{outcome.figures['challenger_map50']:.3f}" in html
    assert ("carsdepo golden extend" in html) == (outcome.needed is not None)
    assert "http://" not in html.replace("http://www.w3.org", "")
    assert "https://" not in html


def test_the_first_model_has_no_comparison() -> None:
    html = page(verdict(200, (None, 0.8)), replace(STATE, champion=None))
    assert "no champion: the first model" in html
    assert "data:image" not in html
    assert "Not worse than the champion" not in html
    assert "At equal false alarms" not in html


def test_what_people_typed_is_escaped() -> None:
    html = page(verdict(400, (0.7, 0.7), camera="<script>x</script>"))
    assert "<script>" not in html
    assert "&lt;script&gt;" in html


def test_both_models_are_shown_at_the_footing() -> None:
    """Each at its own threshold and where it gives as many false alarms as the other."""
    outcome = verdict(1200, (0.7, 0.75))
    html = page(outcome)
    assert outcome.footing is not None
    assert "At equal false alarms" in html
    old, new = outcome.footing.first, outcome.footing.second
    assert old.false_alarms == pytest.approx(new.false_alarms)
    cells = [html.split(f"<td>{who}</td><td>{at}</td>") for who in ("champion", "challenger") for at in AT]
    assert [len(c) for c in cells] == [2, 2, 2, 2]
    rows = [c[1].split("</tr>")[0] for c in cells]
    for row, side in zip(rows, (old, old, new, new), strict=True):
        own = row in (rows[0], rows[2])
        threshold, alarms = (side.deployed, side.deployed_false_alarms) if own else (side.threshold, side.false_alarms)
        assert f"<td>{threshold:.3f}</td><td>{alarms:.2f}</td>" in row
    assert f"<td>{100 * outcome.figures['challenger_footing_recall']:.1f} %</td>" in rows[3]
    assert f"<td>{100 * outcome.figures['champion_precision']:.1f} %</td>" in rows[0]
    for name in ("recall of scratch", "precision of scratch", "recall of dent", "precision of dent"):
        [check] = [c for c in outcome.checks if c.name == name]
        assert f"<td>{points(check.low)} to {points(check.high)}</td>" in html.split(f"<td>{name}</td>")[1]


def test_what_has_no_veto_is_not_called_passed() -> None:
    """A champion under the floors: its comparisons are shown, the floors decide."""
    outcome = verdict(1200, (0.01, 0.6), floor_map50=0.1)
    html = page(outcome)
    assert outcome.verdict == "promote"
    assert "has no veto" in outcome.reasons[0]
    row = html.split("<td>mAP@.5</td>")[1].split("</tr>")[0]
    assert '<td class="state no veto">no veto</td>' in row


def test_a_model_with_fewer_false_alarms_than_the_footing_is_named() -> None:
    truths, groups = golden(400, 100, seed=4)
    outcome = gate_verdict(
        scored(truths, groups, 0.7, seed=1), scored(truths, groups, 0.7, seed=2, false_alarms=0.0),
        ("scratch", "dent"), (0.4, 0.4), Policy(gate=GatePolicy(resamples=100)),
        latency_p95_ms=1.0, parity=1.0, slices={},
    )  # fmt: skip
    assert "The challenger gives no more false alarms than that: all of its boxes count." in page(outcome)


@pytest.mark.parametrize("form", ["png", "svg"])
def test_the_curve_is_drawn_for_any_footing(form: Form) -> None:
    few = AtFooting(0.4, 0.0, None, 0.0, ([], []))
    many = AtFooting(0.051, 9.2, 0.2, 1.1, ([0.0, 1.1, 9.2, 30.0], [0.0, 0.1, 0.3, 0.6]))
    drawn = froc_png(Footing(1.1, many, few), form)
    assert drawn.startswith(b"\x89PNG" if form == "png" else b"<?xml")
    assert len(drawn) < 100_000


def test_the_picture_fits_the_ui() -> None:
    png = differences_png(verdict(600, (0.7, 0.75)))
    assert png.startswith(b"\x89PNG")
    assert len(png) < 100_000


def test_a_verdict_of_before_there_was_a_footing_is_still_read(tmp_path: Path) -> None:
    """A row as version 0.7 wrote it: no footing, and checks that do not say whether they may veto."""
    check = {
        "name": "recall of dent", "kind": "comparison", "challenger": 0.5, "bar": -0.03, "passed": False,
        "says": "recall of dent 0.500 against 0.600", "champion": 0.6, "difference": -0.1, "low": -0.2, "high": -0.05,
        "boxes": 90, "needed": None,
    }  # fmt: skip
    detail = {
        "checks": [check], "photographs": 100, "boxes": 171, "groups": 22, "needed": None, "notes": ["Point mode."],
        "dataset": STATE.dataset, "validated_at": STATE.validated_at,
    }  # fmt: skip
    row = {
        "gate_id": "g-1", "at": MOMENT, "challenger": STATE.challenger, "champion": STATE.champion, "golden": 2,
        "verdict": "reject", "mode": "point", "reasons": [check["says"]],
        "figures": json.dumps({"challenger_map50": 0.122, "detail": detail}), "policy_digest": STATE.policy_digest,
        "report_key": "reports/gate/g-1.html", "dagster_run_id": None,
    }  # fmt: skip
    lake = Lake.open(tmp_path)
    lake.append("gates", [row], "g-1")
    kept = newest_verdict_on(lake, STATE.challenger, STATE.champion)
    assert kept is not None
    assert (kept.verdict.verdict, kept.verdict.footing, kept.verdict.checks[0].vetoes) == ("reject", None, True)
    assert "At equal false alarms" not in page(kept.verdict)
    assert differences_png(kept.verdict).startswith(b"\x89PNG")


def test_a_verdict_comes_back_from_the_table_as_it_was(tmp_path: Path) -> None:
    outcome = verdict(400, (0.7, 0.75))
    lake = Lake.open(tmp_path)
    lake.append("gates", [gate_row("g-1", STATE, outcome, MOMENT, "reports/gate/g-1.html", None)], "g-1")
    kept = newest_verdict_on(lake, STATE.challenger, STATE.champion)
    assert kept is not None
    assert kept.verdict == outcome
