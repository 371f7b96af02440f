"""The command explore."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from carsdepo_assets.commands.options import (
    AsJson,
    Home,
    explained,
    lake_that_stands,
    out,
    print_json,
    read_settings,
    say,
    say_plainly,
)
from carsdepo_assets.commands.terminal import log_of, quietly


def explore(
    dataset: Annotated[
        str | None, typer.Option("--dataset", help="A version of the dataset; default: the newest.")
    ] = None,
    batch: Annotated[str | None, typer.Option("--batch", help="The id of an upload batch.")] = None,
    window: Annotated[
        tuple[str, str] | None,
        typer.Option(
            "--window", metavar="FROM TO", help="Production's answers from one ISO time to another, which is not in it."
        ),
    ] = None,
    most: Annotated[
        int | None,
        typer.Option("--most", min=1, help="Photographs whose features are measured; of more a random sample."),
    ] = None,
    as_json: AsJson = False,
    home: Home = None,
) -> None:
    """Look at photographs and labels before a training: classes, quality, splits, leakage, a map, outliers."""
    from carsdepo_assets.commands.loop_steps import explored
    from carsdepo_assets.commands.pipeline import Pipeline
    from carsdepo_assets.experiments.exploration.selection import Scope, moment, select
    from carsdepo_assets.reporting.addresses import page_url

    settings = read_settings(home)
    with explained():
        lake = lake_that_stands(settings)
        start, end = (moment(text) for text in window) if window else (None, None)
        scope = Scope(dataset=dataset, batch=batch, start=start, end=end)
        select(lake, scope, settings.policy())  # what is wrong is said before a run
        config: dict[str, Any] = {"dataset": dataset, "batch": batch, "most": most}
        if window:
            config |= {"from_time": window[0], "to_time": window[1]}
        with quietly(log_of(settings, "explore"), out), Pipeline.open(settings, "INFO") as pipeline:
            if not as_json:
                say("exploration")
            facts = explored(pipeline, {k: v for k, v in config.items() if v is not None})
    if as_json:
        print_json(facts)
        return
    for finding in facts["findings"]:
        say_plainly(f"{finding['severity']}: {finding['text']}")
    say_plainly(f"exploration: {facts['summary']}")
    say_plainly(f"report: {settings.lake}/{facts['report']}")
    say_plainly(f"on the site, while `carsdepo dev` runs: {page_url(settings.site_for_people, facts['report'])}")
