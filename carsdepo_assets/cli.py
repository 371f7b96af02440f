"""The `carsdepo` command. Exit codes: 0 done, 1 it failed (the message says why), 2 the call was wrong."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from carsdepo_assets.settings import Settings

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Finds scratches and dents on cars: photographs and labels in, a judged, registered model out.",
)
out, err = Console(), Console(stderr=True)

Home = Annotated[
    Path | None, typer.Option("--home", help="Folder of all state; default $CARSDEPO_HOME or ./.carsdepo.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs instead of a table.")]
Model = Annotated[str, typer.Option("--model", help="A version number, a digest (or its first digits), or latest.")]
Minutes = Annotated[float | None, typer.Option("--minutes", min=0.05, help="Training's wall time; default: policy.")]
DetectorName = Annotated[str | None, typer.Option("--detector", help="yolov8n or faster_rcnn; default: policy.")]


@contextmanager
def _explained() -> Iterator[None]:
    """Errors that tell the user what to do end as one line and exit code 1; the rest keep their trace."""
    from carsdepo_assets.commands.dev import PortTaken
    from carsdepo_assets.commands.pipeline import PipelineError

    try:
        yield
    except (PipelineError, PortTaken, LookupError, ValueError, OSError) as error:
        if isinstance(error, KeyError | IndexError):
            raise
        err.print(f"[bold red]Error:[/] {error}", highlight=False, soft_wrap=True)
        raise typer.Exit(1) from error


def _print_json(value: Any) -> None:
    sys.stdout.write(json.dumps(value, indent=1, default=str) + "\n")


def _say(text: str) -> None:
    out.print(f"[dim]{time.strftime('%H:%M:%S')}[/] {text} …", highlight=False)


def _show(loop: Any, settings: Settings) -> None:
    table = Table("step", "what came out", "seconds", title="The loop")
    for step in loop.steps:
        table.add_row(step.name, step.outcome, f"{step.seconds:.1f}")
    table.add_section()
    table.add_row("loop", "", f"{sum(s.seconds for s in loop.steps):.1f}")
    out.print(table)
    if loop.fast:
        out.print("[yellow]FAST: one epoch; the figures only show that the loop runs.[/]")
    figures = Table("figure", "value", title="On test photographs that the model never saw")
    for name, value in loop.figures.items():
        figures.add_row(name, f"{value:.3f}" if isinstance(value, float) else str(value))
    out.print(figures)
    out.print(
        f"Report:  {loop.report}\nLake:    {settings.lake}\nUI:      `make dev`, then "
        f"http://127.0.0.1:{settings.dagster_port} (Dagster) and http://127.0.0.1:{settings.mlflow_port} (MLflow)\n"
        "Lineage: `.venv/bin/carsdepo lineage --model latest`",
        highlight=False,
        soft_wrap=True,
    )


@app.command()
def demo(
    data: Annotated[
        Path | None,
        typer.Option(
            "--data", help="Your photographs: images/, labels/ (YOLO), optional manifest.csv with file and group."
        ),
    ] = None,
    fast: Annotated[bool, typer.Option("--fast", help="One epoch: shows that the loop runs.")] = False,
    minutes: Minutes = None,
    detector: DetectorName = None,
    home: Home = None,
) -> None:
    """Run the loop on the rendered sample, or on your own photographs (kept apart, in a lake of their own)."""
    from carsdepo_assets.commands import demo as loops
    from carsdepo_assets.commands.pipeline import Pipeline

    settings = Settings.read(home=home)
    if data is not None:
        settings = Settings.read(home=home or settings.home / "data" / data.resolve().name)
    with _explained(), Pipeline.open(settings) as pipeline:
        _show(loops.run(pipeline, data, fast=fast, minutes=minutes, detector=detector, say=_say), settings)


@app.command()
def doctor(home: Home = None, as_json: AsJson = False) -> None:
    """Check this machine: Python, packages, memory, disk, ports, GPU. Exit code 1 when the loop cannot run."""
    from carsdepo_assets.commands.doctor import examine

    findings = examine(Settings.read(home=home))
    if as_json:
        _print_json([vars(f) for f in findings])
    else:
        table = Table("", "what", "found", "to do")
        for f in findings:
            table.add_row(
                "[green]ok[/]" if f.ok else "[red]no[/]",
                f.what,
                f.value,
                "" if f.ok and f.value != "absent" else f.advice,
            )
        out.print(table)
    raise typer.Exit(0 if all(f.ok for f in findings) else 1)


@app.command()
def dev(home: Home = None) -> None:
    """Dagster's and MLflow's UIs over the lake, with the sensors running, until Ctrl-C."""
    from carsdepo_assets.commands.dev import run

    with _explained():
        code = run(Settings.read(home=home))
    raise typer.Exit(code)


@app.command(name="import")
def import_(
    folder: Path,
    form: Annotated[str, typer.Option("--format", help="yolo or coco.")] = "yolo",
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
    with _explained(), Pipeline.open(Settings.read(home=home)) as pipeline:
        loops.bring_in(pipeline, loop, folder, form, pairs, None, _say)
    for step in loop.steps:
        out.print(f"{step.name}: {step.outcome} ({step.seconds:.1f} s)", highlight=False)


@app.command()
def train(minutes: Minutes = None, detector: DetectorName = None, home: Home = None) -> None:
    """Dataset, recipe, training, evaluation, registry: the `train` job, from the shell."""
    from carsdepo_assets.commands import demo as loops
    from carsdepo_assets.commands.pipeline import Pipeline

    settings, loop = Settings.read(home=home), loops.Loop()
    with _explained(), Pipeline.open(settings) as pipeline:
        loops.train(pipeline, loop, _say, minutes=minutes, detector=detector)
    _show(loop, settings)


@app.command()
def predict(
    folder: Path,
    file: Annotated[Path, typer.Option("--out", help="COCO results, JSON.")],
    model: Model = "latest",
    home: Home = None,
) -> None:
    """Run a registered model over a folder of photographs."""
    from carsdepo_assets.commands.predicting import predict as run

    with _explained(), out.status("predicting") as status:
        done = run(Settings.read(home=home), folder, model, file, lambda i, n: status.update(f"{i} of {n} photographs"))
    for path, reason in done.refused:
        err.print(f"refused: {path}: {reason}", highlight=False, soft_wrap=True)
    out.print(
        f"{done.boxes} boxes on {done.photographs} photographs by model version {done.version} ({done.digest}): {file}",
        highlight=False,
        soft_wrap=True,
    )


@app.command()
def evaluate(
    ground_truth: Annotated[Path, typer.Option("--ground-truth", help="COCO annotations.")],
    predictions: Annotated[Path, typer.Option("--predictions", help="COCO results, from any system.")],
    threshold: Annotated[
        float | None,
        typer.Option(
            "--threshold", min=0, max=1, help="Score for precision and recall; default: best F1 on these photographs."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Score any system's predictions with this platform's evaluator."""
    from carsdepo_assets.scoring.coco_files import evaluate_files

    with _explained():
        result = evaluate_files(ground_truth, predictions, threshold=threshold)
    if as_json:
        _print_json(result.model_dump(mode="json"))
        return
    table = Table("class", "boxes", "AP@.5", "AP@.75", "AP@.5:.95", "precision", "recall", "F1")

    def said(value: float | None) -> str:
        return "–" if value is None else f"{value:.4f}"

    for name, s in result.per_class.items():
        table.add_row(
            name,
            str(s.n_boxes),
            said(s.ap50),
            said(s.ap75),
            said(s.ap50_95),
            said(s.counts.precision),
            said(s.counts.recall),
            said(s.counts.f1),
        )
    table.add_row(
        "all",
        str(result.n_boxes),
        said(result.map50),
        said(result.map75),
        said(result.map50_95),
        said(result.precision),
        said(result.recall),
        said(result.f1),
    )
    out.print(table)
    out.print(
        f"{result.n_images} photographs; threshold {result.threshold:.3f} ({result.threshold_source}), IoU {result.iou}"
    )


@app.command()
def lineage(model: Model = "latest", as_json: AsJson = False, home: Home = None) -> None:
    """Which photographs, labels, code and runs a model came from."""
    from carsdepo_assets.environments import resources
    from carsdepo_assets.lake.lake import Lake
    from carsdepo_assets.registry.lineage import read_lineage
    from carsdepo_assets.registry.models import get

    settings = Settings.read(home=home)
    with _explained():
        version = get(resources(settings)["tracking"].tracking(), model)
        found = read_lineage(Lake.open(settings.lake), version.digest).model_dump(mode="json")
    found = {"version": version.version, **found}
    if as_json:
        _print_json(found)
        return
    table = Table("what", "value", title=f"Model version {version.version}", show_lines=True)
    for key, value in found.items():
        table.add_row(key, json.dumps(value, indent=1) if isinstance(value, dict | list) else str(value))
    out.print(table)


@app.command()
def status(as_json: AsJson = False, home: Home = None) -> None:
    """What is in the lake, and which models are registered."""
    from carsdepo_assets.commands.status import read_status

    with _explained():
        found = read_status(Settings.read(home=home))
    if as_json:
        _print_json(found)
        return
    table = Table("what", "value")
    for key, value in found.items():
        table.add_row(key, json.dumps(value, indent=1) if isinstance(value, dict | list) else str(value))
    out.print(table)


def main() -> None:
    """The entry point of the `carsdepo` script."""
    app()
