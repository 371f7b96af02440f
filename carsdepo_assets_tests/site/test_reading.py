"""site/reading.py: what the first page and `carsdepo status` know."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from carsdepo_assets.commands import status
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.lake.schemas import CHECKS_SOURCE
from carsdepo_assets.lake.training_progress import TrainingProgress, write_progress
from carsdepo_assets.policy import Policy, ReleasePolicy
from carsdepo_assets.registry import ledger
from carsdepo_assets.settings import Settings
from carsdepo_assets.site import reading
from carsdepo_assets.site.app import pages
from carsdepo_assets_tests.site import example_lake

PERSON = Policy(release=ReleasePolicy(approval="person"))
A, B = "a" * 16, "b" * 16


def silent(stage: str) -> None:
    return None


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake.open(tmp_path / "lake")


def waiting(lake: Lake, policy: Policy | None = None) -> list[tuple[str, str]]:
    listed = reading.pending(lake, ledger.LedgerHistory.read(lake), policy or Policy(), [])
    return [(p.digest, p.why) for p in listed]


def say(lake: Lake, action: Any, digest: str | None, reason: str = "because") -> None:
    ledger.record(lake, "production", action, digest=digest, version=None, actor="ada@desk", reason=reason)


def test_overview_of_a_filled_lake(filled: example_lake.Filled) -> None:
    serving = {"status": "serving", "digest": filled.first, "runtime": "openvino"}
    now = reading.site_overview(
        filled.lake, filled.tracking, Policy(), lambda stage: serving if stage == "production" else None
    )
    production, staging = now.stages
    assert (production.stage, production.trouble) == ("production", None)
    assert "carsdepo serve --stage staging" in (staging.trouble or "")
    assert [v.version for v in now.models] == [2, 1]
    assert [(p.digest, p.version, p.verdict) for p in now.pending] == [(filled.second, 2, "undecided")]
    assert now.drift is not None
    assert now.drift["band"] == "middle"
    assert (now.answers, now.photographs, now.labelled, now.labels_waiting, now.queue_length) == (4, 12, 12, 0, 4)
    assert not now.empty
    values = json.loads(json.dumps(now.to_dict()))
    assert values["stages"][0]["digest"] == filled.first
    assert values["kpis"]["summary"] == "6 of 8 goals met."
    assert values["pending_approvals"][0]["why"] == "the gate could not decide"


def test_checks_at_staging_are_no_answers_and_a_barred_model_is_named(
    filled: example_lake.Filled,
) -> None:
    lake = filled.lake
    row = lake.read("inferences").to_pylist()[0]
    probe = row | {"prediction_id": "probe", "stage": "staging", "source": CHECKS_SOURCE}
    person = row | {"prediction_id": "person", "stage": "staging", "source": "web"}
    before = reading.site_overview(lake, filled.tracking, Policy(), lambda stage: None).answers
    lake.append("inferences", [probe, person], "probes")
    say(lake, "reject", filled.second, "false alarms")
    now = reading.site_overview(lake, filled.tracking, Policy(), lambda stage: None)
    assert (now.answers, now.checks) == (before + 1, 1)
    models = {m["version"]: m["barred"] for m in now.to_dict()["models"]}
    assert models[1] is None
    assert "false alarms" in models[2]
    rows = dict(status._rows(now.to_dict() | {"lake": "l", "quarantine": {}}))
    assert "barred" in rows["model 2"]
    assert "carsdepo approve 2" in rows["model 2"]
    assert "1 checks at staging" in rows["answers"]


def test_a_running_training_is_seen(lake: Lake, tmp_path: Path) -> None:
    now = datetime.now(UTC)
    write_progress(
        lake,
        TrainingProgress(
            run_id="run-7", detector="yolov8n", dataset="1a2b3c4d5e", recipe="r", epoch=2, steps=120, planned_steps=500,
            seconds=45, seconds_left=80, figures={"loss": 3.21456}, started_at=now, updated_at=now,
        ),
    )  # fmt: skip
    text = "trains: step 120 of 500 (epoch 2), loss 3.21; 45 s spent, about 1 min 20 s left"
    overview = reading.site_overview(lake, None, Policy(), silent)
    assert not overview.empty
    told = overview.to_dict()["training"]
    assert (told["steps"], told["planned_steps"], told["seconds_left"], told["silent"]) == (120, 500, 80, False)
    assert text in told["text"]
    rows = dict(status._rows({"lake": "l", "quarantine": {}, **overview.to_dict()}))
    assert text in rows["training"]
    settings = Settings.read({}, home=tmp_path)
    page = TestClient(app_of(settings)).get("/").text
    assert text in page
    assert "/runs/run-7" in page


def app_of(settings: Settings) -> FastAPI:
    app = FastAPI()
    app.include_router(pages(settings, health=silent))
    return app


def test_overview_of_an_empty_lake(lake: Lake) -> None:
    now = reading.site_overview(lake, None, Policy(), silent)
    assert now.empty
    assert json.dumps(now.to_dict())


@pytest.mark.parametrize(
    ("health", "trouble"),
    [
        (None, "does not answer"),
        ({"status": "loading"}, "loading"),
        ({"status": "failed", "error": "no weights"}, "failed: no weights"),
        ({"status": "serving", "digest": B}, f"serves {B}, the ledger says {A}"),
        ({"status": "serving", "digest": B, "error": "a file was changed"}, f"says {A}: a file was changed"),
    ],
)
def test_a_stage_in_trouble_says_so(lake: Lake, health: dict[str, Any] | None, trouble: str) -> None:
    say(lake, "promote", A)
    stage = reading.Serving("production", ledger.desired(lake, "production"), health)
    assert trouble in (stage.trouble or "")


def test_promote_waits_only_where_a_person_is_asked_for(lake: Lake) -> None:
    example_lake.gate(lake, A, None, "promote")
    assert waiting(lake) == []
    assert waiting(lake, PERSON) == [(A, "the policy asks for a person (release.approval)")]
    say(lake, "hold", None, "drift of 6 %")
    assert waiting(lake) == [(A, "promotions are on hold: drift of 6 %")]


def test_undecided_waits_and_reject_does_not(lake: Lake) -> None:
    example_lake.gate(lake, A, None, "undecided")
    example_lake.gate(lake, B, None, "reject")
    assert waiting(lake, PERSON) == [(A, "the gate could not decide")]


@pytest.mark.parametrize("action", ["approve", "reject"])
def test_a_persons_word_settles_it(lake: Lake, action: str) -> None:
    example_lake.gate(lake, A, None, "undecided")
    say(lake, action, A)
    assert waiting(lake) == []


def test_what_production_serves_or_overtook_does_not_wait(lake: Lake) -> None:
    example_lake.gate(lake, A, None, "undecided")
    example_lake.gate(lake, B, None, "promote")
    say(lake, "promote", B)
    assert waiting(lake, PERSON) == []


def test_a_newer_verdict_on_the_same_model_counts(lake: Lake) -> None:
    example_lake.gate(lake, A, None, "undecided", datetime(2026, 1, 1, tzinfo=UTC))
    example_lake.gate(lake, A, None, "reject", datetime(2026, 1, 2, tzinfo=UTC))
    assert waiting(lake) == []


def test_a_barred_model_that_passes_again_waits(lake: Lake) -> None:
    say(lake, "promote", B)
    say(lake, "promote", A)
    say(lake, "rollback", B, "wrong at night")
    example_lake.gate(lake, A, B, "promote")
    ((digest, why),) = waiting(lake)
    assert digest == A
    assert "wrong at night" in why


def test_reports_are_newest_first_and_damage_is_told(lake: Lake) -> None:
    example_lake.report(lake, "drift", "good", "Drift", "None.")
    lake.put("reports/drift/old.json", b'{"title": "Old", "at": "2020-01-01T00:00:00", "summary": "s", "figures": 3}')
    for name, text in (("cut", b'{"title": '), ("list", b"[]"), ("time", b'{"at": 7}'), ("bytes", b"\xff\xfe")):
        lake.put(f"reports/drift/{name}.json", text)
    lake.put("reports/drift/alone.html", b"<p>page without its JSON")
    lake.put("reports/drift/notes.txt", b"no report")
    listed = {r.id: r for r in reading.reports(lake, "drift")}
    assert set(listed) == {"good", "old", "cut", "list", "time", "bytes", "alone"}
    assert {r.id for r in listed.values() if r.trouble} == {"cut", "list", "time", "bytes", "alone"}
    assert listed["good"].page == "reports/drift/good.html"
    assert listed["old"].page is None
    assert listed["old"].figures == {}
    assert [r.id for r in reading.reports(lake, "drift")][-1] == "old"
