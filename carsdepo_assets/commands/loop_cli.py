"""Commands that run the loop or prepare it: demo, doctor, dev, import, train."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from carsdepo_assets.commands.budget import Budget
from carsdepo_assets.commands.options import (
    LAKE_VARIABLE,
    AsJson,
    DetectorName,
    Home,
    Mapping,
    Minutes,
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

_FIGURES = {
    "map50": "mAP@.5",
    "map75": "mAP@.75",
    "map50_95": "mAP@.5:.95",
    "f1": "F1",
    "map50_low": "mAP@.5, 95 % interval from",
    "map50_high": "mAP@.5, 95 % interval to",
}


def _show(loop: Any, settings: Settings, *, own_lake: bool = False) -> None:
    """The steps, the newest model's figures and where everything lies. Places are lines of their own: a table would
    break them. own_lake: the lake is another than the one that the environment names."""
    table = Table("step", title="The loop")
    table.add_column("what came out", overflow="fold")
    table.add_column("seconds", justify="right")
    for step in loop.steps:
        table.add_row(step.name, escape(step.outcome), f"{step.seconds:.1f}" if step.seconds else "")
    table.add_section()
    table.add_row("loop", "", f"{sum(s.seconds for s in loop.steps):.1f}")
    out.print(table)
    if loop.fast:
        out.print(
            "[yellow]FAST: one epoch on few photographs, the first half of the loop. The figures only show that it "
            "runs; `make demo` goes all the way round.[/]",
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
    mapping: Mapping = None,
    home: Home = None,
) -> None:
    """Run the whole loop on the rendered sample, or on your own photographs (kept apart, in a lake of their own)."""
    from carsdepo_assets.commands import demo as loops
    from carsdepo_assets.commands import lineage as lineages
    from carsdepo_assets.commands import whole_loop
    from carsdepo_assets.commands.pipeline import Pipeline

    pairs, apart = class_mapping(mapping), fast or data is not None
    if pairs and data is None:
        raise typer.BadParameter("the sample's classes are ours: give it with --data", param_hint="--map")
    place, elsewhere = home, apart and bool(os.environ.get(LAKE_VARIABLE))
    if data is not None:
        if not data.is_dir():
            raise typer.BadParameter(f"{data} is not a folder", param_hint="--data")
        place = home or read_settings(None).home / "data" / whole_loop.home_name(data)
    if fast:  # its model and few photographs stay out of the lake that the whole loop works on
        place = read_settings(place).home / "fast"
    settings = read_settings(place, own_lake=apart)
    watch = watch_on(out)
    with explained(), quietly(log_of(settings, "demo"), out):
        if fast:
            with Pipeline.open(settings, "INFO") as pipeline:
                loop = loops.run(
                    pipeline,
                    data,
                    fast=True,
                    minutes=minutes,
                    detector=detector,
                    say=say,
                    watch=watch,
                    mapping=pairs,
                )
            trace = lineages.lineage_of(settings, model="latest")
        else:
            loop = whole_loop.run(
                settings, data, minutes=minutes, detector=detector, say=say, watch=watch, mapping=pairs
            )
            trace = lineages.lineage_of(settings, stage="production")
    lineages.show(trace, out)
    _show(loop, settings, own_lake=elsewhere)


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
    mapping: Mapping = None,
    home: Home = None,
) -> None:
    """Bring a folder of photographs and labels into the lake and ingest it."""
    from carsdepo_assets.commands import demo as loops
    from carsdepo_assets.commands.pipeline import Pipeline

    pairs = class_mapping(mapping)
    if form not in ("yolo", "coco"):
        raise typer.BadParameter(f"{form!r} is neither yolo nor coco", param_hint="--format")
    settings, loop = read_settings(home), loops.Loop()
    with explained(), quietly(log_of(settings, "import"), out), Pipeline.open(settings, "INFO") as pipeline:
        loops.bring_in(pipeline, loop, folder, form, pairs, None, say, watch_on(out))
    for step in loop.steps:
        out.print(f"{step.name}: {step.outcome} ({step.seconds:.1f} s)", highlight=False, markup=False, soft_wrap=True)


def train(minutes: Minutes = None, steps: Steps = None, detector: DetectorName = None, home: Home = None) -> None:
    """Dataset, recipe, training, evaluation, registry: the `train` job, from the shell."""
    from carsdepo_assets.commands import demo as loops
    from carsdepo_assets.commands.pipeline import Pipeline

    settings, loop = read_settings(home), loops.Loop()
    length = Budget(steps, minutes)
    with explained(), quietly(log_of(settings, "train"), out), Pipeline.open(settings, "INFO") as pipeline:
        loops.train(pipeline, loop, say, watch=watch_on(out), length=length, detector=detector)
    _show(loop, settings)
