"""commands/predicting.py: which model `carsdepo predict` uses by default, and that it says which and why."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from carsdepo_assets.cli import app
from carsdepo_assets.detectors import catalogue
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.lake.models import ModelCard, read_card
from carsdepo_assets.registry import ledger
from carsdepo_assets.registry.models import register
from carsdepo_assets.registry.tracking import Tracking
from carsdepo_assets_tests.detectors.rectangles import DarkestRectangle, made_up_model
from carsdepo_assets_tests.registry.conftest import empty_store
from carsdepo_assets_tests.training.example_evaluation import panel

__all__ = ["empty_store"]

pytestmark = pytest.mark.timeout(600)


@pytest.fixture
def lake(empty_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lake:
    (tmp_path / "home").mkdir()
    shutil.copy(empty_store, tmp_path / "home" / "mlflow.db")

    def load_model(lake: Lake, digest: str, device: str = "cpu") -> tuple[DarkestRectangle, ModelCard]:
        return DarkestRectangle(), read_card(lake, digest)

    monkeypatch.setattr(catalogue, "load_model", load_model)
    (tmp_path / "photographs").mkdir()
    (tmp_path / "photographs" / "one.png").write_bytes(panel(1)[0])
    return Lake.open(tmp_path / "home" / "lake")


def predict(tmp_path: Path, *more: str) -> tuple[int, str]:
    """Exit code, and what was printed."""
    out = tmp_path / "found.json"
    result = CliRunner().invoke(
        app, ["predict", str(tmp_path / "photographs"), "--out", str(out), "--home", str(tmp_path / "home"), *more]
    )
    if result.exit_code == 0:
        assert len(json.loads(out.read_text())) == 1
    return result.exit_code, " ".join(result.output.split())


def test_a_worthless_model_is_used_only_by_name(tmp_path: Path, lake: Lake) -> None:
    tracking = Tracking.at_home(tmp_path / "home")
    digests = {}
    for name, map50 in (("good", 0.4), ("worthless", 0.001)):
        digests[name] = made_up_model(lake, name.encode())
        register(
            tracking,
            digest=digests[name],
            lake_url=lake.url,
            dataset_version="d",
            detector="yolov8n",
            figures={"map50": map50},
            run_id=None,
            alias=None,
        )
    for latest in ((), ("--model", "latest")):
        code, output = predict(tmp_path, *latest)
        assert code == 0
        assert f"by model version 1 ({digests['good']}), production serves no model, and this is the newest" in output
        assert "met the floor: mAP@.5 0.400 of 0.020" in output
    for name in ("2", digests["worthless"], digests["worthless"][:6]):
        assert f"by model version 2 ({digests['worthless']}), as asked" in predict(tmp_path, "--model", name)[1]
    ledger.record(lake, "production", "promote", digest=digests["worthless"], version=2, actor="ann", reason="a demo")
    assert f"by model version 2 ({digests['worthless']}), the model in production" in predict(tmp_path)[1]


def test_where_nothing_met_the_floor_it_says_what_there_is(tmp_path: Path, lake: Lake) -> None:
    worthless = made_up_model(lake, b"worthless")
    register(
        Tracking.at_home(tmp_path / "home"),
        digest=worthless,
        lake_url=lake.url,
        dataset_version="d",
        detector="yolov8n",
        figures={"map50": 0.001},
        run_id=None,
        alias=None,
    )
    code, output = predict(tmp_path)
    assert code == 1
    assert f"none of the registered ones met the floor of 0.020 without being barred: 1 ({worthless}, mAP@.5" in output
