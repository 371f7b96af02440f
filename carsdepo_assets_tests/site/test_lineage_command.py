"""commands/lineage.py: `carsdepo lineage` as data, and as text on a narrow terminal."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from carsdepo_assets.commands.lineage import lineage_of, show
from carsdepo_assets.settings import Settings
from carsdepo_assets_tests.site import example_lake


@pytest.fixture
def settings(filled: example_lake.Filled) -> Settings:
    return Settings.read({"CARSDEPO_MLFLOW_PORT": "5055"}, home=Path(filled.lake.url).parent)


def shown(lineage: dict[str, object]) -> str:
    out = io.StringIO()
    show(lineage, Console(file=out, width=40))
    return out.getvalue()


@pytest.mark.slow
def test_a_model_by_version_digest_or_latest(settings: Settings, filled: example_lake.Filled) -> None:
    for asked in ("1", filled.first, filled.first[:6]):
        assert lineage_of(settings, model=asked)["digest"] == filled.first
    assert lineage_of(settings)["digest"] == filled.second
    assert lineage_of(settings, model="2")["mlflow"]["url"].startswith("http://127.0.0.1:5055/#/experiments/")


def test_all_three_are_json_and_show_places_whole(settings: Settings, filled: example_lake.Filled) -> None:
    key = filled.records[0].sent.photograph_key or ""
    for lineage, output in (
        (lineage_of(settings, prediction="p0000"), f"{filled.lake.url}/{key}"),
        (lineage_of(settings, stage="production"), "The gate says promote"),
        (lineage_of(settings, model="2"), f"{filled.lake.url}/models/{filled.second}"),
    ):
        assert json.loads(json.dumps(lineage)) == lineage
        assert output in shown(lineage)
    model = lineage_of(settings, model="2")
    assert "trained at        sagemaker\n" in shown(model)
    assert f"content           {model['dataset']['content_digest']}\n" in shown(model)
    model["dataset"]["content_digest"] = None  # of a dataset of an earlier release
    assert "content           no digest was recorded\n" in shown(model)


def test_wrong_calls_say_what_there_is(settings: Settings, tmp_path: Path) -> None:
    with pytest.raises(LookupError, match="p0003"):
        lineage_of(settings, prediction="nope")
    with pytest.raises(LookupError, match=r"Registered: 1 \("):
        lineage_of(settings, model="9")
    for odd in ("", ".", "..", "a\0b"):  # "": an empty variable of a shell names no model
        with pytest.raises(LookupError, match=r"Registered: 1 \("):
            lineage_of(settings, model=odd)
    with pytest.raises(ValueError, match="Name one"):
        lineage_of(settings, model="1", stage="production")
    with pytest.raises(LookupError, match="carsdepo train"):
        lineage_of(Settings.read({}, home=tmp_path))


def test_an_answer_by_a_model_that_is_gone_is_shown(settings: Settings, home: Path) -> None:
    here = Settings.read({}, home=home)
    lake = example_lake.Lake.open(here.lake)
    example_lake.ingest(lake, example_lake.answered(lake, example_lake.shots(1), "[red]gone", 1))
    lineage = lineage_of(here, prediction="p0000")
    assert "There is no model '[red]gone'" in shown(lineage)
