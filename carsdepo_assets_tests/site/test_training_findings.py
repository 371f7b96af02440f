"""site/app.py, commands/status.py: what is found about a training is seen where people look."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from fastapi import FastAPI
from fastapi.testclient import TestClient

from carsdepo_assets.commands.status import _rows, read_status
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.lake.training_findings import TrainingFinding
from carsdepo_assets.lake.training_progress import TrainingProgress, write_progress
from carsdepo_assets.settings import Settings
from carsdepo_assets.site.app import pages

NOW = datetime.now(UTC)
FOUND = TrainingFinding(
    name="overfitting",
    severity="warning",
    since=1240,
    figures={"loss": 1.2},
    evidence="<b>Worse</b> on val.",
    advice="Label.",
)


def test_the_newest_training_shows_its_findings(home: Path) -> None:
    settings = Settings.read({}, home=home)
    lake = Lake.open(settings.lake)
    lake.append("images", [{"image_id": "a"}], "i")
    app = FastAPI()
    app.include_router(pages(settings, health=lambda stage: None))
    browser = TestClient(app)
    progress = TrainingProgress(detector="yolov8n", dataset="d", recipe="r", started_at=NOW, updated_at=NOW)
    write_progress(lake, progress)
    assert "overfitting" not in browser.get("/").text
    assert "training finding" not in dict(_rows(read_status(settings)))

    write_progress(lake, progress.model_copy(update={"findings": (FOUND,)}))
    page = browser.get("/").text
    assert "<code>overfitting</code>" in page
    assert "&lt;b&gt;Worse&lt;/b&gt; on val." in page
    assert "1,240" in page
    line = dict(_rows(read_status(settings)))["training finding"]
    assert line == "overfitting (warning) since step 1,240: <b>Worse</b> on val. Label."
