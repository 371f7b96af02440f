"""The command `carsdepo demo`: reads its options, runs the demo and shows its result."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from carsdepo_assets.commands.loop_table import show_loop
from carsdepo_assets.commands.options import (
    LAKE_VARIABLE,
    ClassList,
    DetectorName,
    Home,
    Mapping,
    Minutes,
    class_mapping,
    explained,
    out,
    read_settings,
    say,
)
from carsdepo_assets.commands.progress import watch_on
from carsdepo_assets.commands.terminal import log_of, quietly


def demo(
    data: Annotated[
        Path | None,
        typer.Option(
            "--data", help="Your photographs: images/, labels/ (YOLO), optional manifest.csv with file and group."
        ),
    ] = None,
    fast: Annotated[
        bool,
        typer.Option(
            "--fast",
            help="Only up to the first model, trained for one epoch, in a lake of its own: shows that it runs.",
        ),
    ] = False,
    minutes: Minutes = None,
    detector: DetectorName = None,
    mapping: Mapping = None,
    classes: ClassList = None,
    home: Home = None,
) -> None:
    """Run the whole loop on the rendered sample, or on your own photographs (in a lake of their own)."""
    from carsdepo_assets.commands import lineage as lineages
    from carsdepo_assets.commands.pipeline import Pipeline, PipelineError
    from carsdepo_assets.demo import chain, run, train_loop

    pairs, own_lake = class_mapping(mapping), fast or data is not None
    if pairs and data is None:
        raise typer.BadParameter(
            "it translates the class names of your own photographs: give it with --data", param_hint="--map"
        )
    if classes is not None and data is None:
        raise typer.BadParameter(
            "it names the classes of your own photographs: give it with --data", param_hint="--classes"
        )
    demo_home, lake_variable_ignored = home, own_lake and bool(os.environ.get(LAKE_VARIABLE))
    if data is not None:
        if not data.is_dir():
            raise typer.BadParameter(f"{data} is not a folder", param_hint="--data")
        demo_home = home or read_settings(None).home / "data" / run.home_name(data)
    if fast:  # its model and its few photographs stay out of the lake of the whole demo
        demo_home = read_settings(demo_home).home / "fast"
    settings = read_settings(demo_home, own_lake=own_lake)
    watch = watch_on(out)
    with explained(), quietly(log_of(settings, "demo"), out):
        if fast:
            with Pipeline.open(settings, "INFO") as pipeline:
                loop = train_loop.run(
                    pipeline,
                    data,
                    fast=True,
                    minutes=minutes,
                    detector=detector,
                    say=say,
                    watch=watch,
                    mapping=pairs,
                    classes=classes,
                )
            trace = lineages.lineage_of(settings, model="latest")
        else:
            loop = run.run(
                settings,
                data,
                minutes=minutes,
                detector=detector,
                say=say,
                watch=watch,
                mapping=pairs,
                classes=classes,
            )
            trace = lineages.lineage_of(settings, stage="production")
    lineages.show(trace, out)
    show_loop(loop, settings, own_lake=lake_variable_ignored)
    with explained():
        if not fast and (trouble := chain.difference(trace)) is not None:
            raise PipelineError(trouble)
