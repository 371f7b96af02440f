"""site/reading.py, commands/status.py: labels that no training could learn from stay visible until that is settled."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi.testclient import TestClient

from carsdepo_assets.commands.status import _rows, read_status
from carsdepo_assets.lake.label_state import mark_trained
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.lake.trainings import Outcome, record_outcome
from carsdepo_assets.settings import Settings
from carsdepo_assets.site.app import pages

BEGAN = datetime(2026, 5, 1, tzinfo=UTC)


def tried(lake: Lake, minute: int, fallback: str | None, outcome: str, reason: str) -> None:
    judged = {"digest": f"model{minute}", "version": minute, "map50": 0.001, "floor": 0.02}
    fields = {
        "label_state": 1,
        "at": BEGAN + timedelta(minutes=minute),
        "asked_by": "retrain",
        "fallback": fallback,
        "outcome": outcome,
        "reason": reason,
    }
    record_outcome(lake, Outcome.model_validate(fields | (judged if outcome == "under_floor" else {})))


def _about_labels(status: dict[str, Any]) -> list[str]:
    return [name for name, _ in _rows(status) if name in ("labels not learnt yet", "a person is asked")]


def test_it_is_seen_until_a_model_meets_the_floor(home: Path) -> None:
    settings = Settings.read({}, home=home)
    lake = Lake.open(settings.lake)
    lake.append("images", [{"image_id": "a"}], "i")
    lake.append("processed", [{"image_id": "a"}], "p")
    lake.append("annotations", [{"image_id": "a"}], "a")
    app = FastAPI()
    app.include_router(pages(settings, health=lambda stage: None))
    browser = TestClient(app)

    assert "usable model" not in browser.get("/").text
    assert read_status(settings)["training_trouble"] is None
    assert _about_labels(read_status(settings)) == ["labels not learnt yet"]

    tried(lake, 1, None, "under_floor", "mAP@.5 0.001 is under the floor of 0.020.")
    page, status = browser.get("/").text, read_status(settings)
    assert "A training gave no usable model" in page
    assert "Next: fallback longer-3." in page
    assert '<a href="/models/model1">version 1</a>' in page
    assert status["training_trouble"]["next"] == "longer-3"
    assert status["labels_waiting"] == 1
    assert _about_labels(status) == ["labels not learnt yet"]
    assert "Next: fallback longer-3." in dict(_rows(status))["labels not learnt yet"]

    tried(lake, 2, "longer-3", "under_floor", "mAP@.5 0.001 is under the floor of 0.020.")
    tried(lake, 3, "start-afresh", "skipped", "Not tried: it started from random weights already.")
    tried(lake, 4, "detector-faster_rcnn", "did_not_finish", "3 trainings did not finish: see their runs.")
    tried(lake, 5, "detector-yolov8n", "skipped", "Not tried: it was a yolov8n already.")
    page, status = browser.get("/").text, read_status(settings)
    assert "A person is asked: no training reached the floor" in page
    assert "fallback start-afresh" in page
    assert "3 trainings did not finish" in page
    assert status["training_trouble"]["needs_person"] is True
    assert [t["outcome"] for t in status["training_trouble"]["tries"]] == [
        "under_floor", "under_floor", "skipped", "did_not_finish", "skipped",
    ]  # fmt: skip
    assert _about_labels(status) == ["a person is asked"]
    assert "start-afresh: Not tried" in dict(_rows(status))["a person is asked"]

    mark_trained(lake, digest="good", dataset="d", recipe="r", state=1)
    page, status = browser.get("/").text, read_status(settings)
    assert "A person is asked" not in page
    assert (status["training_trouble"], status["labels_waiting"]) == (None, 0)
