"""commands/dataset_cli.py: a dataset is built without a training, and can be exported."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from carsdepo_assets.cli import app
from carsdepo_assets.lake import datasets
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets_tests.data.small_lake import car, label, upload

pytestmark = pytest.mark.slow


def call(home: Path, *words: str, code: int = 0) -> str:
    result = CliRunner().invoke(app, [*words, "--home", str(home)], env={"COLUMNS": "200"})
    assert result.exit_code == code, result.output
    return result.output


def test_a_dataset_is_built_and_exported_without_a_training(tmp_path: Path) -> None:
    lake = Lake.open(tmp_path / "lake")
    missing = call(tmp_path, "dataset", "build", code=1)
    assert "has no photograph with labels: import a folder with labels" in missing
    upload(lake, {"a.jpg": car(1), "b.jpg": car(2)})
    label(lake, {"a.txt": "0 .5 .5 .2 .2\n", "b.txt": ""})
    target = tmp_path / "out"
    export = ["export", "--format", "yolo", "--to", str(target)]
    assert "carsdepo dataset build" in call(tmp_path, *export, code=1)
    told = json.loads(call(tmp_path, "dataset", "build", "--json"))
    assert (told["version"], told["photographs"]) == (datasets.latest(lake), 2)
    assert f"dataset: version {told['version']}, 2 photographs\n" in call(tmp_path, "dataset", "build")
    assert datasets.versions(lake) == [told["version"]]
    call(tmp_path, *export)
    assert (target / "data.yaml").exists()


def test_a_home_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    assert "there is no lake" in call(tmp_path / "home", "dataset", "build", code=1)
    assert not (tmp_path / "home").exists()
