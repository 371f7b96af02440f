"""cli.py: the command as a shell sees it, with help, exit codes, and errors that say what to do."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from carsdepo_assets.cli import app

runner = CliRunner()
GROUND_TRUTH = {
    "images": [{"id": 1, "file_name": "a.jpg", "width": 100, "height": 80}],
    "categories": [{"id": 0, "name": "scratch"}, {"id": 1, "name": "dent"}],
    "annotations": [{"id": 1, "image_id": 1, "category_id": 0, "bbox": [10, 10, 20, 20], "area": 400, "iscrowd": 0}],
}


def _files(tmp_path: Path, results: object) -> list[str]:
    truth, predictions = tmp_path / "truth.json", tmp_path / "predictions.json"
    truth.write_text(json.dumps(GROUND_TRUTH))
    predictions.write_text(json.dumps(results))
    return ["evaluate", "--ground-truth", str(truth), "--predictions", str(predictions)]


@pytest.mark.parametrize(
    "command", ["demo", "doctor", "dev", "import", "train", "predict", "evaluate", "lineage", "status"]
)
def test_every_command_has_help(command: str) -> None:
    result = runner.invoke(app, [command, "--help"])
    assert result.exit_code == 0
    assert "Usage" in result.output


def test_evaluate_scores_a_perfect_prediction(tmp_path: Path) -> None:
    call = _files(tmp_path, [{"image_id": 1, "category_id": 0, "bbox": [10, 10, 20, 20], "score": 0.9}])
    result = runner.invoke(app, [*call, "--json"])
    assert result.exit_code == 0, result.output
    text = json.loads(result.output)
    assert text["map50"] == pytest.approx(1.0)
    assert text["per_class"]["dent"]["ap50"] is None


@pytest.mark.parametrize(
    ("results", "words"),
    [
        ([{"image_id": 9, "category_id": 0, "bbox": [1, 1, 2, 2], "score": 0.5}], "9"),
        ([{"image_id": 1, "category_id": 0, "bbox": [1, 1, float("nan"), 2], "score": 0.5}], "bbox"),
        ({"not": "a list"}, "list"),
    ],
)
def test_evaluate_explains_bad_predictions(tmp_path: Path, results: object, words: str) -> None:
    result = runner.invoke(app, _files(tmp_path, results))
    assert result.exit_code == 1
    assert words in result.stderr


@pytest.mark.slow
def test_import_refuses_unknown_classes_with_their_list(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    (folder / "images").mkdir(parents=True)
    (folder / "labels").mkdir()
    (folder / "images" / "a.jpg").write_bytes(b"x")
    (folder / "labels" / "a.txt").write_text("0 .5 .5 .1 .1\n")
    (folder / "data.yaml").write_text("names: [rust]\n")
    result = runner.invoke(app, ["import", str(folder), "--home", str(tmp_path / "home")])
    assert result.exit_code == 1
    assert "rust" in result.stderr
    assert "--map" in result.stderr


@pytest.mark.parametrize(
    "call",
    [
        ["import", "x", "--map", "rust"],
        ["import", "x", "--format", "vox"],
        ["train", "--detector", "resnet"],
        ["demo", "--data", "nowhere"],
    ],
)
def test_wrong_calls_end_with_2(call: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CARSDEPO_HOME", str(tmp_path / "home"))
    assert runner.invoke(app, call).exit_code == 2
    assert not (tmp_path / "home").exists()


def test_lineage_without_a_model_says_what_to_do(tmp_path: Path) -> None:
    result = runner.invoke(app, ["lineage", "--home", str(tmp_path)])
    assert result.exit_code == 1
    assert "carsdepo train" in result.stderr


@pytest.mark.slow
def test_train_without_labels_says_what_to_do(tmp_path: Path) -> None:
    result = runner.invoke(app, ["train", "--home", str(tmp_path)])
    assert result.exit_code == 1
    assert "raw/labels" in result.stderr
    assert "Traceback" not in result.stderr
    assert "carsdepo_assets." not in result.stderr


def test_status_of_an_empty_home(tmp_path: Path) -> None:
    result = runner.invoke(app, ["status", "--json", "--home", str(tmp_path / "none")])
    assert result.exit_code == 0
    assert "nothing here yet" in json.loads(result.output)["state"]


@pytest.mark.slow
def test_an_invalid_policy_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    policy = tmp_path / "carsdepo.toml"
    policy.write_text("[data]\nbatch_max_imagez = 3\n")
    monkeypatch.setenv("CARSDEPO_POLICY", str(policy))
    result = runner.invoke(app, ["train", "--home", str(tmp_path / "home")])
    assert result.exit_code == 1
    assert "batch_max_imagez" in result.stderr


@pytest.mark.parametrize("lake", ["s3://", "ftp://host/lake", "/dev/null/lake"])
def test_a_lake_that_cannot_be_opened_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lake: str) -> None:
    monkeypatch.setenv("CARSDEPO_LAKE", lake)
    (tmp_path / "home").mkdir()
    result = runner.invoke(app, ["status", "--home", str(tmp_path / "home")])
    assert result.exit_code == 1
    assert result.stderr.startswith("Error:")
    assert lake in result.stderr


@pytest.mark.parametrize("call", [["status"], ["send", "x"], ["demo"], ["golden", "extend", "--reason", "r"]])
def test_a_port_that_is_none_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: list[str]) -> None:
    monkeypatch.setenv("CARSDEPO_STAGING_PORT", "80O1")
    result = runner.invoke(app, [*call, "--home", str(tmp_path)])
    assert result.exit_code == 1
    assert "CARSDEPO_STAGING_PORT='80O1'" in result.stderr


@pytest.mark.slow
def test_an_mlflow_that_does_not_answer_is_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("CARSDEPO_MLFLOW", "http://user:secret-word@127.0.0.1:1")
    result = runner.invoke(app, ["lineage", "--model", "latest", "--home", str(tmp_path)])
    text = " ".join((result.output + result.stderr).split())
    assert result.exit_code == 1
    assert isinstance(result.exception, SystemExit)
    assert "CARSDEPO_MLFLOW" in text
    assert "secret-word" not in text


@pytest.mark.parametrize("call", [["labels", "agreement"], ["labels", "history", "a"], ["export", "--format", "yolo"]])
def test_a_home_that_is_not_there_is_named_and_not_made(tmp_path: Path, call: list[str]) -> None:
    result = runner.invoke(app, [*call, "--home", str(tmp_path / "nohome")])
    assert (result.exit_code, "there is no lake at" in result.output) == (1, True)
    assert not (tmp_path / "nohome").exists()


@pytest.mark.parametrize("call", [["--home", "x", "status"], ["quarantine", "--home", "x", "list"]])
def test_home_before_the_command_is_told_where_it_goes(call: list[str]) -> None:
    result = runner.invoke(app, call)
    assert result.exit_code == 2
    assert "it goes behind the command" in " ".join(result.output.split())
