"""commands/terminal.py: only a command's own lines reach the terminal; everything else is in a log file."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SCRIPT = """
import logging, os, subprocess, sys
from pathlib import Path
from rich.console import Console
from carsdepo_assets.commands.options import explained
from carsdepo_assets.commands.terminal import quietly

logging.basicConfig(stream=sys.stderr)
console = Console(width=400)
console.print("before")
with explained(), quietly(Path(sys.argv[1]), console):
    print('{"raw": "json"}')
    logging.getLogger("dagster").warning("a line of dagster")
    os.write(1, b"by descriptor 1\\n")
    os.write(2, b"by descriptor 2\\n")
    subprocess.run([sys.executable, "-c", "import sys; print('child'); print('child too', file=sys.stderr)"])
    console.print("ours")
    if sys.argv[2] == "fail":
        raise ValueError("it went [wrong]")
console.print("after")
print("printed after")
"""


def run(log: Path, how: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", SCRIPT, str(log), how], capture_output=True, text=True, check=False)


def test_what_others_print_goes_to_the_log(tmp_path: Path) -> None:
    log = tmp_path / "logs" / "demo.log"
    process = run(log, "work")
    assert (process.returncode, process.stderr) == (0, "")
    assert process.stdout.splitlines() == ["before", "ours", "after", "printed after"]
    text = log.read_text()
    for line in (
        '{"raw": "json"}',
        "a line of dagster",
        "by descriptor 1",
        "by descriptor 2",
        "child\n",
        "child too",
    ):
        assert line in text
    assert "ours" not in text
    run(log, "work")
    assert log.read_text().count("by descriptor 1") == 2  # appended


def test_an_error_names_the_log_and_the_terminal_is_given_back(tmp_path: Path) -> None:
    process = run(tmp_path / "demo.log", "fail")
    assert process.returncode == 1
    assert process.stdout.splitlines() == ["before", "ours"]
    assert process.stderr.splitlines()[:2] == ["Error: it went [wrong]", f"Log: {tmp_path / 'demo.log'}"]
