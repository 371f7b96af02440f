"""The gate's page: whole, escaped, the verdict first; the picture fits the UI."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from carsdepo_assets.policy import GatePolicy, Policy
from carsdepo_assets.release.gate import Verdict, judge
from carsdepo_assets.release.gate_report import Page, differences_png, render_gate
from carsdepo_assets.release.gating import State
from carsdepo_assets_tests.release.scored import golden, scored

STATE = State("91ad2b7c03aa41fe", "77c0b1a2d3e4f506", 2, "0123456789abcdef", "9f8e7d6c5b4a", "2026-11-25T00:03:23")
MOMENT = datetime(2026, 11, 25, tzinfo=UTC)


def verdict(boxes: int, skills: tuple[float | None, float], camera: str = "Pixel 8") -> Verdict:
    truths, groups = golden(boxes, boxes // 4, seed=4)
    old, new = skills
    return judge(
        None if old is None else scored(truths, groups, old, seed=1),
        scored(truths, groups, new, seed=2),
        ("scratch", "dent"),
        (None if old is None else 0.4, 0.45),
        Policy(gate=GatePolicy(resamples=100, slice_min_boxes=100)),
        latency_p95_ms=61.2,
        parity=0.9985,
        slices={"camera": [camera if i % 3 else None for i in range(boxes)]},
    )


def page(said: Verdict, state: State = STATE) -> str:
    return render_gate(Page("g-1", state, said, MOMENT, version=4, champion_version=3, runtime="openvino"))


@pytest.mark.parametrize(
    ("skills", "heading"),
    [((0.6, 0.95), "Promote"), ((0.9, 0.5), "Reject"), ((0.75, 0.79), "Undecided")],
)
def test_verdict_reasons_and_figures_are_there(skills: tuple[float, float], heading: str) -> None:
    said = verdict(1200, skills)
    html = page(said)
    assert said.verdict == heading.lower()
    assert f"<strong>{heading}" in html
    assert said.reasons[0] in html
    assert html.count("data:image/svg+xml") == 1
    assert f"{said.figures['challenger_map50']:.3f}" in html
    assert ("carsdepo golden extend" in html) == (said.needed is not None)
    assert "http://" not in html.replace("http://www.w3.org", "")
    assert "https://" not in html


def test_the_first_model_has_no_comparison() -> None:
    html = page(verdict(200, (None, 0.8)), replace(STATE, champion=None))
    assert "no champion: the first model" in html
    assert "data:image" not in html
    assert "Not worse than the champion" not in html


def test_what_people_typed_is_escaped() -> None:
    html = page(verdict(400, (0.7, 0.7), camera="<script>x</script>"))
    assert "<script>" not in html
    assert "&lt;script&gt;" in html


def test_the_picture_fits_the_ui() -> None:
    png = differences_png(verdict(600, (0.7, 0.75)))
    assert png.startswith(b"\x89PNG")
    assert len(png) < 100_000
