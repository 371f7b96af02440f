"""Commands about models: predict, evaluate, lineage, status."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.table import Table

from carsdepo_assets.commands.options import AsJson, Home, Model, err, explained, out, print_json
from carsdepo_assets.settings import Settings


def predict(
    folder: Path,
    file: Annotated[Path, typer.Option("--out", help="COCO results, JSON; category_id 0 is scratch, 1 is dent.")],
    model: Model = "latest",
    home: Home = None,
) -> None:
    """Run a registered model over a folder of photographs."""
    from carsdepo_assets.commands.predicting import predict as run

    with explained(), out.status("predicting") as status:
        done = run(Settings.read(home=home), folder, model, file, lambda i, n: status.update(f"{i} of {n} photographs"))
    for path, reason in done.refused:
        err.print(f"refused: {path}: {reason}", highlight=False, soft_wrap=True)
    named = f"version {done.version} ({done.digest})" if done.version is not None else done.digest
    out.print(
        f"{done.boxes} boxes, the faint ones too, on {done.photographs} photographs by model {named}, {done.why}: "
        f"{file}",
        highlight=False,
        soft_wrap=True,
    )


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

    with explained():
        result = evaluate_files(ground_truth, predictions, threshold=threshold)
    if as_json:
        print_json(result.model_dump(mode="json"))
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


def lineage(
    model: Annotated[
        str | None,
        typer.Option(
            "--model", help="A version number, a digest (or its first digits), or latest: the newest registered."
        ),
    ] = None,
    stage: Annotated[Literal["staging", "production"] | None, typer.Option("--stage", help="What it serves.")] = None,
    prediction: Annotated[str | None, typer.Option("--prediction", help="The id of a single answer.")] = None,
    as_json: AsJson = False,
    home: Home = None,
) -> None:
    """Which photographs, labels, code, runs and people are behind a model, a stage or a single answer."""
    from carsdepo_assets.commands import lineage as lineages

    with explained():
        found = lineages.lineage_of(Settings.read(home=home), model=model, stage=stage, prediction=prediction)
    if as_json:
        print_json(found)
    else:
        lineages.show(found, out)


def status(as_json: AsJson = False, home: Home = None) -> None:
    """What serves where, last drift, pending approvals, the labelling queue, the last KPIs, what is in the lake."""
    from carsdepo_assets.commands import status as states

    with explained():
        found = states.read_status(Settings.read(home=home))
    if as_json:
        print_json(found)
    else:
        states.show(found, out)
