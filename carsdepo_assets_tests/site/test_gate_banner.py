"""site/app.py: only a model that the gate passed has a green banner, on the first page and on evaluations."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.registry import ledger
from carsdepo_assets.reporting.page import GATE_SLOT
from carsdepo_assets.settings import Settings
from carsdepo_assets.site.app import pages
from carsdepo_assets_tests.site import example_lake

DIGEST = "d" * 16
GREEN, NEUTRAL = '<div class="verdict">', '<div class="verdict neutral">'


def browser(home: Path, health: Mapping[str, Any] | None = None) -> TestClient:
    app = FastAPI()
    app.include_router(pages(Settings.read({}, home=home), health=lambda stage: health))
    return TestClient(app)


@pytest.mark.parametrize(
    ("verdict", "banner", "words"),
    [
        ("promote", GREEN, "Production serves model 3</strong>"),
        ("reject", NEUTRAL, "Production serves model 3, which the gate refused</strong>"),
        ("undecided", NEUTRAL, "Production serves model 3, which the gate left undecided</strong>"),
        (None, NEUTRAL, "Production serves model 3</strong>"),
    ],
)
def test_the_first_page_is_green_over_what_the_gate_let_through(
    home: Path, verdict: str | None, banner: str, words: str
) -> None:
    lake = Lake.open(home / "lake")
    if verdict is not None:
        example_lake.gate(lake, DIGEST, None, verdict)
    ledger.record(lake, "production", "promote", digest=DIGEST, version=3, actor="ann@desk", reason="legal asks for it")
    text = browser(home, {"status": "serving", "digest": DIGEST}).get("/").text
    assert words in text
    assert banner in text
    assert (GREEN in text) == (verdict == "promote")
    assert ("The gate's page" in text) == (verdict is not None)


@pytest.mark.parametrize(
    ("verdict", "banner", "words"),
    [
        ("promote", '<div class="verdict ">', "The gate passed this model"),
        ("reject", '<div class="verdict failed">', "The gate refused this model"),
        ("undecided", NEUTRAL, "The gate could not decide"),
    ],
)
def test_an_evaluation_is_shown_with_what_the_gate_says_by_now(
    home: Path, verdict: str, banner: str, words: str
) -> None:
    lake = Lake.open(home / "lake")
    key = f"reports/evaluation/{DIGEST}-0123456789abcdef-golden1.html"
    lake.put(key, f"<p>before</p>{GATE_SLOT}<p>after</p>".encode())
    site = browser(home)
    assert site.get(f"/{key}").text.endswith(f"<p>before</p>{GATE_SLOT}<p>after</p>")  # nobody asked the gate yet
    example_lake.gate(lake, "e" * 16, None, "promote")  # of another model
    example_lake.gate(lake, DIGEST, "e" * 16, verdict)
    text = site.get(f"/{key}").text
    assert banner in text
    assert words in text
    assert f'href="/reports/gate/{DIGEST}-{verdict}.html"' in text
    assert "<p>before</p>" in text
    assert lake.get(key).decode() == f"<p>before</p>{GATE_SLOT}<p>after</p>"  # as it was written


def test_the_first_page_shows_a_model_that_the_registry_lacks(home: Path) -> None:
    """As after the lake was restored without MLflow's database, which knows other models."""
    example_lake.fill(home, example_lake.shots())
    digest = "e" * 16
    ledger.record(Lake.open(home / "lake"), "production", "promote", digest=digest, version=None, actor="a", reason="b")
    answer = browser(home, {"status": "serving", "digest": digest}).get("/")
    assert answer.status_code == 200
    assert digest in answer.text
