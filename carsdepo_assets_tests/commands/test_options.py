"""commands/options.py: --map, and which lake a demo of its own works in."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from carsdepo_assets.cli import app
from carsdepo_assets.commands.options import class_mapping, read_settings


def test_pairs_become_a_mapping() -> None:
    assert class_mapping(None) == {}
    assert class_mapping(["rust=scratch", " big dent = dent ", "rust=scratch"]) == {
        "rust": "scratch",
        "big dent": "dent",
    }
    assert class_mapping(["0=dent=ish"]) == {"0": "dent=ish"}  # refused later, with the list of classes


@pytest.mark.parametrize("pair", ["rust", "=dent", "rust=", " = ", ""])
def test_what_is_no_pair_is_named(pair: str) -> None:
    with pytest.raises(typer.BadParameter, match="is not old=new"):
        class_mapping([pair])


def test_a_class_cannot_become_two() -> None:
    with pytest.raises(typer.BadParameter, match="both dent and scratch"):
        class_mapping(["rust=dent", "rust=scratch"])


@pytest.mark.parametrize("call", [["demo", "--data", "."], ["import", "."]])
def test_demo_and_import_read_it_with_the_same_words(call: list[str], tmp_path: Path) -> None:
    result = CliRunner().invoke(app, [*call, "--map", "rust", "--home", str(tmp_path / "home")])
    assert result.exit_code == 2
    assert "'rust' is not old=new" in result.output
    assert not (tmp_path / "home").exists()


def test_a_map_without_data_is_refused(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["demo", "--map", "rust=dent", "--home", str(tmp_path / "home")])
    assert result.exit_code == 2
    assert "--data" in result.output


def test_a_demo_apart_leaves_the_environments_lake_alone_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CARSDEPO_LAKE", "s3://ours/production")
    assert read_settings(tmp_path).lake == "s3://ours/production"
    assert capsys.readouterr().out == ""
    assert read_settings(tmp_path, own_lake=True).lake == str(tmp_path / "lake")
    lines = capsys.readouterr().out
    assert "CARSDEPO_LAKE names s3://ours/production" in lines
    assert str(tmp_path / "lake") in lines
    monkeypatch.delenv("CARSDEPO_LAKE")
    assert read_settings(tmp_path, own_lake=True).lake == str(tmp_path / "lake")
    assert capsys.readouterr().out == ""


def test_a_key_that_cannot_be_made_is_a_line_and_no_trace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CARSDEPO_SIGNING_KEY", str(tmp_path / "none.key"))
    monkeypatch.setenv("CARSDEPO_VERIFICATION_KEY", str(tmp_path / "theirs.pub"))
    (tmp_path / "theirs.pub").write_text("a public key")
    for name in ("DAGSTER", "MLFLOW", "PRODUCTION", "STAGING"):  # free ones, whatever runs on this machine
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            monkeypatch.setenv(f"CARSDEPO_{name}_PORT", str(free.getsockname()[1]))
    result = CliRunner().invoke(app, ["dev", "--home", str(tmp_path / "home")])
    assert result.exit_code == 1
    assert "the key that signs them is missing" in " ".join(result.output.split())
    assert "Traceback" not in result.output
    assert (tmp_path / "theirs.pub").read_text() == "a public key"
