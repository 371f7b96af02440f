"""The end of the demo: its steps, what was proven by what, and what the emulators could not prove."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from deploy.demo_aws.driving import Demo

FILE = Path(__file__).with_name("unproved.toml")


def unproved() -> list[tuple[str, str]]:
    """What emulators cannot prove, and why, in the order of the file."""
    return [(one["what"], one["why"]) for one in tomllib.loads(FILE.read_text())["unproved"]]


def show(demo: Demo, console: Console, *, wall_s: float, cpu_s: float) -> None:
    """Prints the tables and the list.

    Args:
        demo: that has run to its end.
        console: to print on.
        wall_s: seconds of all of it.
        cpu_s: of processors, of this process and those that it started.
    """
    steps = Table("step", title="The loop on emulators of AWS")
    steps.add_column("outcome", overflow="fold")
    steps.add_column("seconds", justify="right")
    for step in demo.loop.steps:
        steps.add_row(step.name, escape(step.outcome), f"{step.seconds:.1f}")
    steps.add_section()
    outside = ", those of containers not among them" if demo.runner.are_containers else ""
    steps.add_row("all", f"{cpu_s:.0f} s of processors{outside}", f"{wall_s:.1f}")
    console.print(steps)
    proven = Table("proven", "by", title="What was proven by what")
    for what, how in demo.proven.items():
        proven.add_row(escape(what), escape(how))
    console.print(proven)
    for line in lines_of_unproved(demo.runner.sentences):
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def lines_of_unproved(runs: Sequence[str]) -> list[str]:
    """The closing list.

    Args:
        runs: how jobs and endpoints ran, in sentences.
    """
    lines = ["What the emulators could not prove", *(f"- {what}: {why}" for what, why in unproved())]
    return [*lines, f"- How jobs and endpoints ran here: {' '.join(runs)}"]
