"""The commands export, labels history and labels agreement."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from carsdepo_assets.commands.options import AsJson, Home, explained, lake_that_stands, out, print_json, read_settings
from carsdepo_assets.commands.progress import watch_on
from carsdepo_assets.data.exports.writers import ExportFormat
from carsdepo_assets.data.exports.writers.exported import Images, Pixels

labels = typer.Typer(no_args_is_help=True, help="Who labelled what, and how far annotators agree.")


def export(
    format: Annotated[
        ExportFormat, typer.Option("--format", help="Which tools are to read it; the how-to page has a table.")
    ],
    dataset: Annotated[
        str, typer.Option("--dataset", help="A dataset's version (or its first digits), or latest.")
    ] = "latest",
    to: Annotated[
        Path | None,
        typer.Option("--to", help="The folder, which must not exist; default: carsdepo-FORMAT-VERSION here."),
    ] = None,
    split: Annotated[
        list[str] | None,
        typer.Option("--split", help="A split to export, such as train; repeat for each. Default: all."),
    ] = None,
    images: Annotated[
        Images,
        typer.Option(
            "--images",
            help="Copy the photographs, link to the lake's files (a lake in a folder only), or leave them out.",
        ),
    ] = "copy",
    pixels: Annotated[
        Pixels,
        typer.Option(
            "--pixels",
            help="upright: as uploaded, those that EXIF turns encoded anew; original: all as uploaded, the tool has to "
            "turn them; processed: the reduced copies that models are trained on.",
        ),
    ] = "upright",
    photographs_url: Annotated[
        str,
        typer.Option(
            "--photographs-url",
            metavar="URL",
            help="For groundtruth and labelstudio: where the folder will lie, such as s3://bucket/folder/.",
        ),
    ] = "",
    negatives: Annotated[
        bool,
        typer.Option(
            "--negatives",
            help="Write hard negatives too, each as a box of a class that is called as its cause, such as reflection.",
        ),
    ] = False,
    home: Home = None,
) -> None:
    """Write a dataset as a folder that other tools read: photographs, labels, splits and groups."""
    from carsdepo_assets.data.exports.exporting import export_dataset, resolve_version

    settings = read_settings(home)
    with explained(), watch_on(out)("exporting", "photographs") as advance:
        lake = lake_that_stands(settings)
        version = resolve_version(lake, dataset)
        result = export_dataset(
            lake,
            version,
            format,
            to or Path(f"carsdepo-{format}-{version}"),
            policy=settings.policy(),
            now=datetime.now(UTC),
            splits=split or (),
            images=images,
            pixels=pixels,
            photographs_url=photographs_url,
            negatives=negatives,
            progress=advance,
        )
    out.print(result.summary, highlight=False, markup=False, soft_wrap=True)


@labels.command()
def history(
    photograph: Annotated[
        str,
        typer.Argument(metavar="IMAGE", help="A photograph's id (or its first digits), its upload's key, or its name."),
    ],
    as_json: AsJson = False,
    home: Home = None,
) -> None:
    """Show every revision of a photograph's labels: who, when, from which file, what changed, and which counts."""
    from carsdepo_assets.commands.labels_shown import show_history
    from carsdepo_assets.data.labels.label_history import find_photograph, label_history

    settings = read_settings(home)
    with explained():
        lake = lake_that_stands(settings)
        told = label_history(lake, find_photograph(lake, photograph), settings.policy())
    if as_json:
        print_json(told)
    else:
        show_history(told, out)


@labels.command()
def agreement(
    least: Annotated[
        int, typer.Option("--least", min=0, help="How many of the photographs with least agreement are listed.")
    ] = 10,
    as_json: AsJson = False,
    home: Home = None,
) -> None:
    """Measure how far annotators agree who labelled the same photographs: F1 of their boxes."""
    from carsdepo_assets.commands.labels_shown import show_agreement
    from carsdepo_assets.data.labels.label_agreement import label_agreement

    settings = read_settings(home)
    with explained():
        report = label_agreement(lake_that_stands(settings), settings.policy(), least)
    if as_json:
        print_json(report.model_dump(mode="json"))
    else:
        show_agreement(report, out)
