"""`carsdepo policy show`: prints the thresholds in force and the file that sets each."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import typer
from rich.markup import escape

from carsdepo_assets.commands.options import AsJson, Home, explained, out, print_json, read_settings

policy = typer.Typer(no_args_is_help=True, help="Show the thresholds that the business sets in carsdepo.toml.")


@policy.callback()
def group() -> None:
    """Makes `show` a named command: a Typer group with one command would drop its name."""


@policy.command()
def show(as_json: AsJson = False, home: Home = None) -> None:
    """Show every value in force, the file that sets it, its default, its unit and its meaning."""
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
            value = f"{escape(entry.key)} = {_shown(entry.value)}"
            if entry.source == BUILT_IN:
                _print(value)
            else:
                _print(f"[bold]{value}[/]  ({escape(_relative(entry.source))}; built in: {_shown(entry.default)})")
            unit = f"{entry.unit}: " if entry.unit else ""
            _print(f"    [dim]{escape(unit + entry.description)}[/]")
    _print("\nThe files override the built-in values, each one those before it:")
    for file in files:
        _print(f"  {escape(str(file['file']))}{'' if file['there'] else '  (absent)'}")
    if settings.policy_named is None:
        _print("  (CARSDEPO_POLICY names no further file)")


def _print(line: str) -> None:
    """Prints a line uncut: where it is wider than the terminal, it continues on the next line."""
    out.print(line, highlight=False, soft_wrap=True)


def _shown(value: Any) -> str:
    return "none" if value is None else escape(value if isinstance(value, str) else json.dumps(value))


def _relative(file: str) -> str:
    """The path as seen from the working folder, where the file lies below it."""
    path = Path(file)
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else file
