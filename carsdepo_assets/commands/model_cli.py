"""The commands predict, evaluate, lineage and status."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.markup import escape
from rich.table import Table

from carsdepo_assets.commands.options import AsJson, Home, Model, err, explained, out, print_json
from carsdepo_assets.redaction import legible
from carsdepo_assets.settings import Settings

if TYPE_CHECKING:
    from carsdepo_assets.commands.predicting import Predicted


def predict(
    folder: Path,
    file: Annotated[
        Path, typer.Option("--out", help="File to write: COCO results as JSON; category_id 0 is scratch, 1 is dent.")
    ],
    model: Model = "latest",
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Find damage on a folder of photographs with a registered model, and write it as COCO results.

    Exit code 1 where a file was not answered; each is named with its reason.
    """
    from carsdepo_assets.commands.predicting import predict as run
    from carsdepo_assets.commands.progress import watch_on

    with explained(), watch_on(err if as_json else out)("predicting", "photographs") as advance:
        result = run(Settings.read(home=home), folder, model, file, advance)
    if as_json:
        print_json(_as_json(result, file))
        raise typer.Exit(1 if result.refused else 0)
    for path, reason in result.refused:
        err.print(escape(legible(f"not answered: {path}: {reason}")), highlight=False, soft_wrap=True)
    reasons: dict[str, list[str]] = {}
    for path, reason in result.passed_over:
        reasons.setdefault(reason, []).append(Path(path).name)
    for reason, names in reasons.items():
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        line = f"passed over, {reason}: {', '.join(names[:3])}{more}"
        err.print(escape(legible(line)), highlight=False, soft_wrap=True)
    named = f"version {result.version} ({result.digest})" if result.version is not None else result.digest
    out.print(
        f"Wrote to {file}: {result.boxes} boxes, those of low score included, on {result.photographs} photographs, "
        f"by model {named}, {result.why}.",
        highlight=False,
        soft_wrap=True,
    )
    if result.refused or result.passed_over:
        folders = f" {result.folders} folders could not be read." if result.folders else ""
        out.print(
            f"Of {result.files} files {result.photographs} were answered, "
            f"{len(result.refused) - result.folders} were not, {len(result.passed_over)} are no photographs.{folders}",
            highlight=False,
            soft_wrap=True,
        )
    if result.refused:
        raise typer.Exit(1)


def _as_json(result: Predicted, file: Path) -> dict[str, Any]:
    """What a call of `predict` did, for programs; the counts add up to `files`."""

    def listed(entries: list[tuple[str, str]]) -> list[dict[str, str]]:
        return [{"file": legible(path), "reason": reason} for path, reason in entries]

    return {
        "out": str(file),
        "version": result.version,
        "digest": result.digest,
        "why": result.why,
        "boxes": result.boxes,
        "files": result.files,
        "answered": result.photographs,
        "not_answered": listed(result.refused),
        "passed_over": listed(result.passed_over),
        "unreadable_folders": result.folders,
    }


def evaluate(
    ground_truth: Annotated[Path, typer.Option("--ground-truth", help="COCO annotations.")],
    predictions: Annotated[Path, typer.Option("--predictions", help="COCO results of any system.")],
    threshold: Annotated[
        float | None,
        typer.Option(
            "--threshold", min=0, max=1, help="Score for precision and recall; default: best F1 on these photographs."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Score predictions of any system against COCO annotations, with this platform's evaluator."""
    from carsdepo_assets.scoring.coco_files import evaluate_files

    with explained():
        result = evaluate_files(ground_truth, predictions, threshold=threshold)
    if as_json:
        print_json(result.model_dump(mode="json"))
        return
    table = Table("class", "boxes", "AP@.5", "AP@.75", "AP@.5:.95", "precision", "recall", "F1")

    def cell(value: float | None) -> str:
        return "–" if value is None else f"{value:.4f}"

    for name, s in result.per_class.items():
        table.add_row(
            name,
            str(s.n_boxes),
            cell(s.ap50),
            cell(s.ap75),
            cell(s.ap50_95),
            cell(s.counts.precision),
            cell(s.counts.recall),
            cell(s.counts.f1),
        )
    table.add_row(
        "all",
        str(result.n_boxes),
        cell(result.map50),
        cell(result.map75),
        cell(result.map50_95),
        cell(result.precision),
        cell(result.recall),
        cell(result.f1),
    )
    out.print(table)
    out.print(
        f"{result.n_images} photographs; threshold {result.threshold:.3f} ({result.threshold_source}), IoU {result.iou}"
    )
    if result.n_crowds:
        out.print(
            f"{result.n_crowds} crowd regions: {result.n_in_crowds} detections in them count neither way",
            soft_wrap=True,
        )


def lineage(
    model: Annotated[
        str | None,
        typer.Option(
            "--model", help="A version number, a digest (or its first digits), or latest: the newest registered."
        ),
    ] = None,
    stage: Annotated[
        Literal["staging", "production"] | None, typer.Option("--stage", help="The model that this stage serves.")
    ] = None,
    prediction: Annotated[str | None, typer.Option("--prediction", help="The id of a single answer.")] = None,
    as_json: AsJson = False,
    home: Home = None,
) -> None:
    """Show the photographs, labels, code, runs and people behind a model, a stage's model or a single answer."""
    from carsdepo_assets.commands import lineage as lineages

    with explained():
        described = lineages.lineage_of(Settings.read(home=home), model=model, stage=stage, prediction=prediction)
    if as_json:
        print_json(described)
    else:
        lineages.show(described, out)


def status(as_json: AsJson = False, home: Home = None) -> None:
    """Show what is served, the last drift, pending approvals, the labelling queue, the last KPIs, the lake."""
    from carsdepo_assets.commands import status as states

    with explained():
        state = states.read_status(Settings.read(home=home))
    if as_json:
        print_json(state)
    else:
        states.show(state, out)
