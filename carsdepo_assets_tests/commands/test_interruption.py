"""start.py, commands/interruption.py: Ctrl-C at any time is one line and exit code 130, and the command can go on.

Each case runs the script in a process of its own that sends the signal SIGINT to itself at one place.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from carsdepo_assets.cli import app
from carsdepo_assets.commands.interruption import EXIT_CODE, MESSAGE
from carsdepo_assets_tests.data.photograph_files import photograph

pytestmark = pytest.mark.slow

INTERRUPT = "import os, signal, sys\ndef interrupt(): os.kill(os.getpid(), signal.SIGINT)\n"
RUN = "from carsdepo_assets.start import main\nmain()\n"
IMPORTING = """
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == {0!r}:
            interrupt()
sys.meta_path.insert(0, Finder())
"""
# Within a function of a module: after so many calls, before the real one.
CALLED = """
import importlib
module = importlib.import_module({0!r})
owner = module
for part in {1!r}.split('.')[:-1]:
    owner = getattr(owner, part)
name = {1!r}.split('.')[-1]
real, calls = getattr(owner, name), []
def stand_in(*args, **kwargs):
    calls.append(1)
    if len(calls) == {2}:
        interrupt()
    return real(*args, **kwargs)
setattr(owner, name, stand_in)
"""


def run(tmp_path: Path, words: list[str], prepared: str = "") -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "CARSDEPO_HOME": str(tmp_path / "home"), "COLUMNS": "200"}
    return subprocess.run(
        [sys.executable, "-c", INTERRUPT + prepared + RUN, *words],
        cwd=tmp_path, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip


def cars(tmp_path: Path) -> Path:
    folder = tmp_path / "cars"
    folder.mkdir()
    for i in range(6):
        (folder / f"{i}.jpg").write_bytes(photograph(i))
    return folder


@pytest.mark.parametrize("module", ["carsdepo_assets.cli", "typer", "rich.table"])
@pytest.mark.parametrize("words", [["status"], ["--help"]], ids=" ".join)
def test_while_modules_are_imported(tmp_path: Path, module: str, words: list[str]) -> None:
    ended = run(tmp_path, words, IMPORTING.format(module))
    assert (ended.returncode, ended.stdout, ended.stderr) == (EXIT_CODE, "", f"{MESSAGE}\n")


@pytest.mark.parametrize(
    ("words", "module", "function"),
    [
        (["evaluate", "--ground-truth", "t", "--predictions", "p"], "carsdepo_assets.scoring.coco_files", "_read"),
        (["quarantine", "list"], "carsdepo_assets.settings", "Settings.read"),
        (["policy", "show"], "carsdepo_assets.policy_layers", "read_layers"),
        (["doctor"], "carsdepo_assets.commands.doctor", "examine"),
    ],
)
def test_within_a_command(tmp_path: Path, words: list[str], module: str, function: str) -> None:
    ended = run(tmp_path, words, CALLED.format(module, function, 1))
    assert (ended.returncode, ended.stderr) == (EXIT_CODE, f"{MESSAGE}\n")
    assert "Traceback" not in ended.stdout


def test_a_command_that_is_not_interrupted_ends_as_before(tmp_path: Path) -> None:
    assert run(tmp_path, ["no-such-command"]).returncode == 2
    wrong = run(tmp_path, ["evaluate", "--ground-truth", "none", "--predictions", "none"])
    assert wrong.returncode == 1
    assert MESSAGE not in wrong.stderr


# In the copying, in a step, and where Dagster keeps a signal to itself: while it stores an event.
PLACES = [
    ("carsdepo_assets.lake.lake", "Lake.put", 3),
    ("carsdepo_assets.data.photographs.ingest", "ingest_uploads", 1),
    ("carsdepo_assets.data.photographs.ingest", "build_images", 1),
    ("carsdepo_assets.data.batches.batches", "plan_batches", 2),
    ("dagster", "DagsterInstance.handle_new_event", 4),
]


@pytest.mark.long
@pytest.mark.parametrize(("module", "function", "call"), PLACES, ids=[function for _, function, _ in PLACES])
def test_an_import_that_is_interrupted_goes_on_when_it_is_run_again(
    tmp_path: Path, module: str, function: str, call: int
) -> None:
    folder = cars(tmp_path)
    ended = run(tmp_path, ["import", str(folder)], CALLED.format(module, function, call))
    assert (ended.returncode, ended.stderr) == (EXIT_CODE, f"{MESSAGE}\n"), ended.stdout
    assert "Traceback" not in ended.stdout
    assert "Error" not in ended.stdout
    again = run(tmp_path, ["import", str(folder)])
    assert again.returncode == 0, again.stdout + again.stderr
    counted = run(tmp_path, ["status", "--json"])
    assert '"photographs": 6' in counted.stdout


def test_a_signal_that_dagster_keeps_to_itself_ends_the_command_too(tmp_path: Path) -> None:
    module, function, call = PLACES[-1]
    ended = run(tmp_path, ["import", str(cars(tmp_path))], CALLED.format(module, function, call))
    assert (ended.returncode, ended.stderr) == (EXIT_CODE, f"{MESSAGE}\n"), ended.stdout


def test_an_error_that_follows_from_the_signal_is_no_error() -> None:
    """As when a worker that got the signal too ends a command by an error of its own."""
    script = """
import signal
from carsdepo_assets.commands.interruption import interruptible, was_interrupted
signal.signal(signal.SIGINT, signal.default_int_handler)
def end(block):
    try:
        with interruptible():
            block()
    except (SystemExit, RuntimeError) as error:
        print(type(error).__name__, error, was_interrupted())
def swallowed():
    try:
        signal.raise_signal(signal.SIGINT)
    except KeyboardInterrupt:
        raise RuntimeError("the worker ended") from None
def by_itself():
    raise RuntimeError("by itself")
end(swallowed)
end(by_itself)
"""
    # In a process of its own: what other tests of this one loaded may have set other handlers of signals.
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert ended.stdout.splitlines() == [f"SystemExit {EXIT_CODE} False", "RuntimeError by itself False"]
    assert ended.stderr == f"{MESSAGE}\n"


def test_version_says_what_runs() -> None:
    result = CliRunner().invoke(app, ["--version"])
    assert result.exit_code == 0
    name, version, *rest = result.output.split()
    assert (name, version[0].isdigit(), rest[-2]) == ("carsdepo", True, "Python")
    assert rest[-1].startswith("3.")
