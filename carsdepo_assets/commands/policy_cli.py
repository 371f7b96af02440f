"""`carsdepo policy`: which thresholds are in force, and which file says so."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import typer
from rich.markup import escape
from rich.table import Table

from carsdepo_assets.commands.options import AsJson, Home, explained, out, print_json, read_settings

policy = typer.Typer(no_args_is_help=True, help="The thresholds that the business sets: carsdepo.toml.")


@policy.callback()
def group() -> None:
    """Its command is named: `carsdepo policy show`."""


@policy.command()
def show(as_json: AsJson = False, home: Home = None) -> None:
    """Every value in force, with the file that sets it, its default and its meaning."""
    from carsdepo_assets.policy_layers import BUILT_IN, entries, read_layers

    settings = read_settings(home)
    with explained():
        layered = read_layers(settings.policy_files)
    files = [{"file": str(layer.path), "there": layer.path.is_file()} for layer in settings.policy_files]
    if as_json:
        values = [vars(entry) for entry in entries(layered)]
        print_json({"digest": layered.policy.digest(), "files": files, "values": values})
        return
    table = Table(title=f"Policy {layered.policy.digest()}", title_justify="left")
    # A key or a path that is cut cannot be copied: keys keep their width, all else is folded on a narrow terminal.
    table.add_column("key", no_wrap=True, min_width=max(len(entry.key) for entry in entries(layered)))
    table.add_column("value", overflow="fold", max_width=24)
    for name in ("default", "source"):
        table.add_column(name, overflow="fold")
    table.add_column("meaning", overflow="fold")
    for entry in entries(layered):
        changed = entry.source != BUILT_IN
        table.add_row(
            escape(entry.key),
            f"[bold]{_words(entry.value)}[/]" if changed else _words(entry.value),
            _words(entry.default) if changed else "",
            escape(_near(entry.source)) if changed else BUILT_IN,
            escape(entry.description),
        )
    out.print(table)
    out.print("Built-in values, and over them, later files going before earlier ones:", highlight=False)
    for file in files:
        out.print(f"  {file['file']}{'' if file['there'] else '  (absent)'}", highlight=False, soft_wrap=True)


def _words(value: Any) -> str:
    return "none" if value is None else escape(value if isinstance(value, str) else json.dumps(value))


def _near(file: str) -> str:
    """A path below the working folder, as it is seen from there."""
    path = Path(file)
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else file
