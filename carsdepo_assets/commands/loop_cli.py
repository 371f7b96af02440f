"""Commands that run the loop or prepare it: demo, doctor, dev, import, train."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from carsdepo_assets.commands.options import (
    AsJson,
    DetectorName,
    Home,
    Minutes,
    Steps,
    explained,
    out,
    print_json,
    read_settings,
    say,
)
from carsdepo_assets.settings import Settings


def _show(loop: Any, settings: Settings) -> None:
    table = Table("step", "what came out", "seconds", title="The loop")
    for step in loop.steps:
        table.add_row(step.name, step.outcome, f"{step.seconds:.1f}" if step.seconds else "")
    table.add_section()
    table.add_row("loop", "", f"{sum(s.seconds for s in loop.steps):.1f}")
    out.print(table)
    if loop.fast:
        out.print(
            "[yellow]FAST: one epoch on few photographs, the first half of the loop. The figures only show that it "
            "runs; `make demo` goes all the way round.[/]"
        )
    figures = Table("figure", "value", title="The newest model, on test photographs that it never saw")
    for name, value in loop.figures.items():
        figures.add_row(name, f"{value:.3f}" if isinstance(value, float) else str(value))
    out.print(figures)
    reports = {"evaluation": loop.report, **loop.reports}
    width = max(map(len, reports)) + 1
    for name, place in reports.items():
        out.print(f"Report, {name + ':':{width}} {place}", highlight=False, soft_wrap=True)
    usual = settings.home == Path(".carsdepo").resolve()
    home = "" if usual else f" --home {shlex.quote(str(settings.home))}"
    dev = "`make dev`" if usual else f"`.venv/bin/carsdepo dev{home}`"
    released = any(step.name == "first release" for step in loop.steps)
    which = "--stage production" if released else "--model latest"
    out.print(
        f"Lake:    {settings.lake}\n"
        f"UI:      {dev}, then http://127.0.0.1:{settings.production_port} (reports), "
        f"http://127.0.0.1:{settings.dagster_port} (Dagster), http://127.0.0.1:{settings.mlflow_port} (MLflow)\n"
        f"Lineage: `.venv/bin/carsdepo lineage {which}{home}`",
        highlight=False,
        soft_wrap=True,
    )


def demo(
    data: Annotated[
        Path | None,
        typer.Option(
            "--data", help="Your photographs: images/, labels/ (YOLO), optional manifest.csv with file and group."
        ),
    ] = None,
    fast: Annotated[
        bool, typer.Option("--fast", help="One epoch, the first half only, in a lake of its own: shows that it runs.")
    ] = False,
    minutes: Minutes = None,
    detector: DetectorName = None,
    home: Home = None,
) -> None:
    """Run the whole loop on the rendered sample, or on your own photographs (kept apart, in a lake of their own)."""
    from carsdepo_assets.commands import demo as loops
    from carsdepo_assets.commands import lineage as lineages
    from carsdepo_assets.commands import whole_loop
    from carsdepo_assets.commands.pipeline import Pipeline

    settings = read_settings(home)
    if data is not None:
        if not data.is_dir():
            raise typer.BadParameter(f"{data} is not a folder", param_hint="--data")
        settings = read_settings(home or settings.home / "data" / data.resolve().name)
    with explained():
        if fast:  # its model and few photographs stay out of the lake that the whole loop works on
            settings = read_settings(settings.home / "fast")
            with Pipeline.open(settings) as pipeline:
                loop = loops.run(pipeline, data, fast=True, minutes=minutes, detector=detector, say=say)
            lineages.show(lineages.lineage_of(settings, model="latest"), out)
        else:
            loop = whole_loop.run(settings, data, minutes=minutes, detector=detector, say=say)
            lineages.show(lineages.lineage_of(settings, stage="production"), out)
    _show(loop, settings)


def doctor(home: Home = None, as_json: AsJson = False) -> None:
    """Check this machine: Python, packages, memory, disk, ports, GPU. Exit code 1 when the loop cannot run."""
    from carsdepo_assets.commands.doctor import examine

    findings = examine(read_settings(home))
    if as_json:
        print_json([vars(f) for f in findings])
    else:
        table = Table("", "what", "found")
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
    """Dagster, MLflow and both inspection services over the lake, with the sensors running, until Ctrl-C."""
    from carsdepo_assets.commands.dev import run

    with explained():
        code = run(Settings.read(home=home))
    raise typer.Exit(code)


def import_(
    folder: Path,
    form: Annotated[str, typer.Option("--format", help="yolo: labels/*.txt. coco: a .json in the folder.")] = "yolo",
    mapping: Annotated[list[str] | None, typer.Option("--map", help="old=new class name; repeat.")] = None,
    home: Home = None,
) -> None:
    """Bring a folder of photographs and labels into the lake and ingest it."""
    from carsdepo_assets.commands import demo as loops
    from carsdepo_assets.commands.pipeline import Pipeline

    pairs = {}
    for item in mapping or []:
        old, sep, new = item.partition("=")
        if not sep or not old or not new:
            raise typer.BadParameter(f"{item!r} is not old=new", param_hint="--map")
        pairs[old] = new
    if form not in ("yolo", "coco"):
        raise typer.BadParameter(f"{form!r} is neither yolo nor coco", param_hint="--format")
    loop = loops.Loop()
    with explained(), Pipeline.open(Settings.read(home=home)) as pipeline:
        loops.bring_in(pipeline, loop, folder, form, pairs, None, say)
    for step in loop.steps:
        out.print(f"{step.name}: {step.outcome} ({step.seconds:.1f} s)", highlight=False)


def train(minutes: Minutes = None, steps: Steps = None, detector: DetectorName = None, home: Home = None) -> None:
    """Dataset, recipe, training, evaluation, registry: the `train` job, from the shell."""
    from carsdepo_assets.commands import demo as loops
    from carsdepo_assets.commands.pipeline import Pipeline

    settings, loop = read_settings(home), loops.Loop()
    with explained(), Pipeline.open(settings) as pipeline:
        loops.train(pipeline, loop, say, minutes=minutes, steps=steps, detector=detector)
    _show(loop, settings)
