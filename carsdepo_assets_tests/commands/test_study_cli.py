"""commands/study_cli.py: what a study would do is said before it, what it came to is shown, and a trial is pinned."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from carsdepo_assets.cli import app
from carsdepo_assets.experiments.study.conclusion import conclude, record_conclusion
from carsdepo_assets.lake import trials
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets_tests.data.small_lake import car, label, upload
from carsdepo_assets_tests.experiments.study.studied_lake import NOW, opened, run_of
from carsdepo_assets_tests.training.tiny_dataset import tiny_dataset

pytestmark = pytest.mark.slow
POLICY = """
[training]
detector = "yolov8n"
[study]
families = ["yolov8n"]
trial_steps = 10
"""


def call(home: Path, *words: str, code: int = 0) -> str:
    result = CliRunner().invoke(app, ["study", *words, "--home", str(home)], env={"COLUMNS": "200"})
    assert result.exit_code == code, result.output
    return result.output


def test_the_plan_is_said_and_nothing_is_written(tmp_path: Path) -> None:
    (tmp_path / "carsdepo.toml").write_text(POLICY)
    lake = Lake.open(tmp_path / "lake")
    tiny_dataset(lake)
    said = call(tmp_path, "--plan", "--trials", "3", "--steps", "20")
    assert "up to 3 trials of 20 optimizer steps (at most 2.5 minutes), over yolov8n, varying lr, weight_decay." in said
    assert "8 photographs to train on, 3 to score on" in said
    assert lake.version("trials") == -1
    assert not list(lake.list("studies"))
    assert "no labelling queue 'drift-r9'" in call(tmp_path, "--plan", "--report", "r9", code=1)
    assert "has no study yet" in call(tmp_path, "show", code=1)


def test_a_study_is_shown_and_another_trial_is_pinned(tmp_path: Path) -> None:
    lake, plan = opened(tmp_path, trials=3)
    run_of(lake, plan, tmp_path).run()
    record_conclusion(lake, plan, conclude(plan, trials.trials(trials.events(lake, plan.study))), NOW)
    told = json.loads(call(tmp_path, "show", "--json"))
    assert told["leaderboard"][0]["trial"] == 0 == told["winner"]  # the three tie
    assert "carsdepo study` goes on with it" not in call(tmp_path, "show", plan.study)
    assert "--reason must not be empty" in call(tmp_path, "pin", plan.study, "1", "--reason", " ", code=1)
    for study, trial, says in ((plan.study, "7", "has no trial 7"), ("nothing", "1", "no study 'nothing'")):
        said = call(tmp_path, "pin", study, trial, "--reason", "because", code=1)
        assert says in said
        assert "pin_recipe" not in said  # it is said before a run
    assert not (tmp_path / "dagster").exists()
    assert f"Trial 1 of study {plan.study} is pinned by" in call(
        tmp_path, "pin", plan.study, "1", "--reason", "by night"
    )
    shown = call(tmp_path, "show")
    assert "Pinned: trial 1 by" in shown
    assert "by night" in shown


def test_the_dataset_of_now_is_built_and_one_that_cannot_be_studied_is_refused(tmp_path: Path) -> None:
    assert "there is no lake" in call(tmp_path / "home", code=1)
    lake = Lake.open(tmp_path / "lake")
    upload(lake, {"a.jpg": car(1)})
    label(lake, {"a.txt": "0 .5 .5 .2 .2\n"})
    assert "No study is possible: dataset" in call(tmp_path, code=1)
    assert lake.version("trials") == -1
