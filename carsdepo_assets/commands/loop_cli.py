"""The commands doctor, dev, import and train."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from carsdepo_assets.commands.loop_steps import Budget, Loop, bring_in
from carsdepo_assets.commands.loop_steps import train as train_steps
from carsdepo_assets.commands.loop_table import show_loop
from carsdepo_assets.commands.options import (
    AsJson,
    ClassList,
    DetectorName,
    Home,
    Mapping,
    Minutes,
    Resplit,
    Steps,
    class_mapping,
    explained,
    out,
    print_json,
    read_settings,
    say,
)
from carsdepo_assets.commands.progress import watch_on
from carsdepo_assets.commands.terminal import log_of, quietly
from carsdepo_assets.settings import Settings


def doctor(home: Home = None, as_json: AsJson = False) -> None:
    """Check this machine: Python, packages, memory, disk, ports, GPU. Exit code 1 where something needed is missing."""
    from carsdepo_assets.commands.doctor import examine

    findings = examine(read_settings(home))
    if as_json:
        print_json([vars(f) for f in findings])
    else:
        table = Table("", "what", "value")
        table.add_column("to do", overflow="fold")
        for f in findings:
            table.add_row(
                "[green]ok[/]" if f.ok else "[red]no[/]",
                f.what,
                f.value,
                "" if f.ok and f.value != "absent" else f.advice,
            )
        out.print(table)
    raise typer.Exit(0 if all(f.ok for f in findings) else 1)


def dev(home: Home = None) -> None:
    """Start Dagster with its sensors, MLflow and both inspection services; Ctrl-C ends them."""
    from carsdepo_assets.commands.dev import run

    with explained():
        code = run(Settings.read(home=home))
    raise typer.Exit(code)


def import_(
    folder: Path,
    form: Annotated[
        str,
        typer.Option("--format", help="Format of the labels. yolo: labels/*.txt; coco: a .json file in the folder."),
    ] = "yolo",
    mapping: Mapping = None,
    classes: ClassList = None,
    resplit: Resplit = False,
    home: Home = None,
) -> None:
    """Copy a folder of photographs and labels into the lake and ingest it."""
    from carsdepo_assets.commands.pipeline import Pipeline

    pairs = class_mapping(mapping)
    if form not in ("yolo", "coco"):
        raise typer.BadParameter(f"{form!r} is neither yolo nor coco", param_hint="--format")
    settings, loop = read_settings(home), Loop()
    with explained(), quietly(log_of(settings, "import"), out), Pipeline.open(settings, "INFO") as pipeline:
        bring_in(pipeline, loop, folder, form, pairs, None, say, watch_on(out), classes, resplit)
    for step in loop.steps:
        out.print(f"{step.name}: {step.outcome} ({step.seconds:.1f} s)", highlight=False, markup=False, soft_wrap=True)


def train(minutes: Minutes = None, steps: Steps = None, detector: DetectorName = None, home: Home = None) -> None:
    """Train a model on the labels of now, evaluate it and register it (the `train` job)."""
    from carsdepo_assets.commands.pipeline import Pipeline

    settings, loop = read_settings(home), Loop()
    length = Budget(steps, minutes)
    with explained(), quietly(log_of(settings, "train"), out), Pipeline.open(settings, "INFO") as pipeline:
        train_steps(pipeline, loop, say, watch=watch_on(out), length=length, detector=detector)
    show_loop(loop, settings)
