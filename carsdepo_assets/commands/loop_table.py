"""Prints the steps of a command, the newest model's figures, and where everything is."""

from __future__ import annotations

import shlex
from pathlib import Path

from rich.markup import escape
from rich.table import Table

from carsdepo_assets.commands.loop_steps import Loop
from carsdepo_assets.commands.options import out
from carsdepo_assets.settings import Settings

_FIGURES = {
    "map50": "mAP@.5",
    "map75": "mAP@.75",
    "map50_95": "mAP@.5:.95",
    "f1": "F1",
    "map50_low": "mAP@.5, 95 % interval from",
    "map50_high": "mAP@.5, 95 % interval to",
}


def show_loop(loop: Loop, settings: Settings, *, own_lake: bool = False) -> None:
    """Prints the steps, the newest model's figures and where everything is.

    Args:
        loop: What the command has run.
        settings: The installation.
        own_lake: Whether the lake is another than the one that CARSDEPO_LAKE names.
    """
    table = Table("step", title="The loop")
    table.add_column("outcome", overflow="fold")
    table.add_column("seconds", justify="right")
    for step in loop.steps:
        table.add_row(step.name, escape(step.outcome), f"{step.seconds:.1f}" if step.seconds else "")
    table.add_section()
    table.add_row("loop", "", f"{sum(s.seconds for s in loop.steps):.1f}")
    out.print(table)
    if loop.fast:
        out.print(
            "[yellow]FAST: one epoch on few photographs, and the first half of the loop only. The figures mean nothing "
            "but that it runs; `make demo` runs the whole loop.[/]",
            soft_wrap=True,
        )
    figures = Table("figure", title="The newest model, on test photographs that it never saw")
    figures.add_column("value", overflow="fold")
    for name, value in loop.figures.items():
        figures.add_row(_FIGURES.get(name, name), f"{value:.3f}" if isinstance(value, float) else escape(str(value)))
    out.print(figures)
    reports = {"evaluation": loop.report, **loop.reports}
    width = max(map(len, reports)) + 1
    lines = [f"Report, {name + ':':{width}} {place}" for name, place in reports.items()]
    usual = settings.home == Path(".carsdepo").resolve() and not own_lake
    home = "" if usual else f" --home {shlex.quote(str(settings.home))}"
    tool = f"{'CARSDEPO_LAKE= ' if own_lake else ''}.venv/bin/carsdepo"
    dev = "`make dev`" if usual else f"`{tool} dev{home}`"
    released = any(step.name == "first release" for step in loop.steps)
    which = "--stage production" if released else "--model latest"
    lines += [
        f"Lake:    {settings.lake}",
        f"UI:      {dev}, then http://127.0.0.1:{settings.production_port} (reports), "
        f"http://127.0.0.1:{settings.dagster_port} (Dagster), http://127.0.0.1:{settings.mlflow_port} (MLflow)",
        f"Lineage: `{tool} lineage {which}{home}`",
        f"Logs:    {settings.home / 'logs'}",
    ]
    for line in lines:
        out.print(line, highlight=False, markup=False, soft_wrap=True)
