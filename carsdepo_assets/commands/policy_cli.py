"""`carsdepo policy`: which thresholds are in force, and which file says so."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import typer
from rich.markup import escape

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
    in_force = entries(layered)
    changed = [entry for entry in in_force if entry.source != BUILT_IN]
    _print(f"Policy {layered.policy.digest()}: {len(changed)} of {len(in_force)} values are set by a file.")
    for title, part in (("Set by a file", changed), ("Built in", [e for e in in_force if e.source == BUILT_IN])):
        if part:
            _print(f"\n[bold]{title}[/]")
        for entry in part:
            value = f"{escape(entry.key)} = {_words(entry.value)}"
            if entry.source == BUILT_IN:
                _print(value)
            else:
                _print(f"[bold]{value}[/]  ({escape(_near(entry.source))}; built in: {_words(entry.default)})")
            _print(f"    [dim]{escape(entry.description)}[/]")
    _print("\nBuilt-in values, and over them, later files going before earlier ones:")
    for file in files:
        _print(f"  {escape(str(file['file']))}{'' if file['there'] else '  (absent)'}")
    if settings.policy_named is None:
        _print("  CARSDEPO_POLICY names no file")


def _print(line: str) -> None:
    """Never cut: what is longer than the terminal is wide goes on in its next line."""
    out.print(line, highlight=False, soft_wrap=True)


def _words(value: Any) -> str:
    return "none" if value is None else escape(value if isinstance(value, str) else json.dumps(value))


def _near(file: str) -> str:
    """A path below the working folder, as it is seen from there."""
    path = Path(file)
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else file
