"""commands/import_questions.py, commands/import_account_view.py, commands/loop_cli.py: what `import` asks and says."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import pytest
from rich.console import Console
from typer.testing import CliRunner

from carsdepo_assets.cli import app
from carsdepo_assets.commands.import_account_view import observe_account, show_account
from carsdepo_assets.commands.import_questions import ImportOptions, settled
from carsdepo_assets.data.imports.account import FileOutcome, ImportAccount, ImportState, account_lines
from carsdepo_assets.data.imports.importing import ImportRefused
from carsdepo_assets.policy import Policy
from carsdepo_assets_tests.data.imports.test_layouts import COCO, Files, write
from carsdepo_assets_tests.data.photograph_files import photograph

BOXES = "0 .5 .5 .1 .1\n1 .5 .5 .2 .2\n"


def answered(folder: Path, answers: list[str], **given: str) -> tuple[ImportOptions, list[str], list[str]]:
    """(the options, the questions, the lines that were said)."""
    questions: list[str] = []
    lines: list[str] = []

    def ask(question: str, possible: Iterable[str]) -> str:
        questions.append(question)
        answer = answers.pop(0)
        assert answer in possible
        return answer

    return settled(None, folder, ImportOptions(**given), Policy(), ask, lines.append), questions, lines


def test_what_the_folder_says_is_not_asked(tmp_path: Path) -> None:
    folder = write(tmp_path / "x", {"a.jpg": photograph(1), "a.txt": BOXES, "classes.txt": "scratch\ndent\n"})
    assert answered(folder, []) == (ImportOptions(), [], [])


@pytest.mark.parametrize(
    ("files", "answers", "flags"),
    [
        ({"a.txt": BOXES}, ["dent", "-"], "--map 0=dent --map 1=-"),
        (
            {"a.txt": BOXES, "classes.txt": "glare\nold dent\n"},
            ["reflection", "dent"],
            "--map glare=reflection --map 'old dent=dent'",
        ),
        ({"a.txt": "0 .5 .5 .1 .1", "a.json": COCO}, ["yolo", "scratch"], "--format yolo --map 0=scratch"),
    ],
)  # fmt: skip
def test_what_it_does_not_say_is_asked_and_the_flags_are_named(
    tmp_path: Path, files: Files, answers: list[str], flags: str
) -> None:
    folder = write(tmp_path / "x", {"a.jpg": photograph(1), **files})
    options, questions, lines = answered(folder, list(answers))
    assert options.flags() == flags
    assert lines[-1] == f"The same without questions: {flags}"
    assert len(questions) == len(answers)
    if "classes.txt" in files:
        assert questions[0] == "What is class glare? (1 box in 1 file: a.txt (line 1))"


def test_what_no_answer_settles_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ImportRefused, match="no photographs"):
        answered(write(tmp_path / "x", {"a.txt": BOXES}), [])


@pytest.mark.parametrize(
    ("files", "more", "code", "words"),
    [
        ({"a.txt": "0 .5 .5 .1 .1\n", "classes.txt": "dent"}, [], 0, "1 label file new"),
        ({"a.txt": "0 .5 .5 .1 .1\n"}, [], 1, "--classes scratch,dent"),
        ({"a.txt": "0 .5 .5 .1 .1\n"}, ["--classes", "dent"], 0, "0 dent -> dent"),
        ({"a.txt": "0 .5 .5 .1 .1\n"}, ["--map", "0=shadow", "--name", "other"], 0, "0 -> shadow (no damage)"),
        ({"a.xml": "<annotation>"}, [], 1, "not whole: 1 label file there, and none was read"),
        ({}, [], 0, "no labels"),
        ({"a.txt": ""}, [], 0, "note: not looked at: whether 1 photograph can be decoded"),
        ({"a.txt": ""}, [], 0, "note: 1 label file read, but not compared with photographs"),
        (
            {"b.jpg": photograph(2), "a.txt": "0 .5 .5\n", "b.txt": "0 .5 .5 .1 .1\n", "classes.txt": "dent"},
            [],
            0,
            "1 label file quarantined: malformed (a.txt (line 1: ",
        ),
        ({"a.txt": "0 .5 .5\n", "classes.txt": "dent"}, [], 1, "1 label file there, and none was read"),
        (
            {"b.jpg": photograph(2), "b.txt": "0 .5 .5 .1 .1\n", "a.txt": "7 .5 .5 .1 .1\n", "classes.txt": "dent"},
            [],
            0,
            "1 label file quarantined: unknown_class (a.txt (class 7))",
        ),
    ],
)
def test_a_dry_run_prints_the_account_and_makes_no_home(
    tmp_path: Path, files: Files, more: list[str], code: int, words: str
) -> None:
    folder = write(tmp_path / "x", {"a.jpg": photograph(1), **files})
    home = tmp_path / "home"
    result = CliRunner().invoke(app, ["import", str(folder), "--dry-run", "--home", str(home), *more])
    assert result.exit_code == code, result.output
    assert words in result.output
    assert not home.exists()


@pytest.mark.parametrize("more", [[], ["--dry-run"], ["--json"]])
def test_what_is_no_annotators_name_is_a_wrong_argument(tmp_path: Path, more: list[str]) -> None:
    home = tmp_path / "home"
    arguments = ["import", str(tmp_path), "--annotator", "", "--home", str(home), *more]
    result = CliRunner().invoke(app, arguments)
    assert (result.exit_code, home.exists()) == (2, False)
    assert "--annotator is empty" in result.output


def test_the_annotator_is_in_the_account_and_among_the_options_that_are_named(tmp_path: Path) -> None:
    folder = write(tmp_path / "x", {"a.jpg": photograph(1), "a.txt": BOXES, "classes.txt": "scratch\ndent\n"})
    arguments = ["import", str(folder), "--dry-run", "--annotator", " Ann  Lee", "--home", str(tmp_path / "home")]
    assert "  labels by annotator: Ann Lee: 1 by --annotator\n" in CliRunner().invoke(app, arguments).output
    assert ImportOptions(annotator="Ann Lee", resplit=True).flags() == "--annotator 'Ann Lee' --resplit"


def test_an_account_as_json_adds_up(tmp_path: Path) -> None:
    folder = write(tmp_path / "x", {"a.jpg": photograph(1), "a.txt": "", ".hidden": "", "b.txt": "hello"})
    result = CliRunner().invoke(app, ["import", str(folder), "--dry-run", "--json", "--home", str(tmp_path / "home")])
    account = json.loads(result.stdout)
    assert (account["adds_up"], account["files"], sum(line["files"] for line in account["lines"])) == (True, 4, 4)
    assert account["dry_run"]


ACCOUNT = ImportAccount(
    import_id="1",
    at=datetime(2030, 1, 1, tzinfo=UTC),
    name="cars",
    folder="cars",
    format="yolo",
    layout="photographs in images/ (2)",
    classes=("0 scratch -> scratch",),
    class_names_from="classes.txt",
    splits="",
    files=3,
    lines=account_lines(
        [
            FileOutcome("a.jpg", "photograph", ImportState.ACCEPTED),
            FileOutcome("b\udcff.jpg", "photograph", ImportState.REFUSED, "its name is not UTF-8", "[red]b\n"),
            FileOutcome("README.md", "other file", ImportState.NOT_USED, "neither a photograph nor labels"),
        ]
    ),
    figures={"with_damage": 1},
    failures=("1 photograph refused",),
    next=("`carsdepo train`",),
)


def test_names_that_no_terminal_takes_are_shown_escaped(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = io.StringIO()
    show_account(ACCOUNT, Console(file=shown, width=60))
    assert "  1 photograph accepted\n" in shown.getvalue()
    assert "  1 photograph refused: its name is not UTF-8 (b\\udcff.jpg ([red]b\\n))\n" in shown.getvalue()
    assert "not whole: 1 photograph refused\n" in shown.getvalue()
    table = io.StringIO()
    show_account(ACCOUNT, Console(file=table, force_terminal=True, width=120, color_system=None))
    assert "│     1 │ photograph │ accepted │" in table.getvalue()


def test_the_account_is_observed_beside_the_batches() -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        observe_account(ACCOUNT, instance)
        for asset in ("uploads", "labels"):
            (record,) = instance.fetch_observations(dg.AssetKey(asset), limit=5).records
            observed = record.asset_observation
            assert observed is not None
            assert observed.metadata["import"].value == "cars"
            assert observed.metadata["account_json"].value["files"] == 3
