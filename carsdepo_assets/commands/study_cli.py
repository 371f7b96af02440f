"""The commands study, study show and study pin."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from carsdepo_assets.commands.options import (
    AsJson,
    Home,
    explained,
    lake_that_stands,
    out,
    print_json,
    read_settings,
    say_plainly,
)
from carsdepo_assets.commands.terminal import log_of, quietly
from carsdepo_assets.settings import Settings

study = typer.Typer(
    help="Try recipes on the dataset of now: which family, which hyper-parameters; and take one for the next training."
)


@study.callback(invoke_without_command=True)
def run(
    context: typer.Context,
    plan: Annotated[
        bool, typer.Option("--plan", help="Only say what would be tried, for how long and for how much money.")
    ] = False,
    trials: Annotated[
        int | None,
        typer.Option("--trials", min=2, help="Most trials, today's recipe among them; default: the policy's."),
    ] = None,
    steps: Annotated[
        int | None, typer.Option("--steps", min=1, help="Optimizer steps of a trial; default: the policy's.")
    ] = None,
    minutes: Annotated[
        float | None,
        typer.Option("--minutes", min=0.05, help="Minutes of training of all trials together; default: the policy's."),
    ] = None,
    seed: Annotated[
        int | None, typer.Option("--seed", min=0, help="Of the sampler: another seed is another study.")
    ] = None,
    report: Annotated[
        str | None, typer.Option("--report", help="The drift report whose labelled queue the study is for.")
    ] = None,
    home: Home = None,
) -> None:
    """Run a study, or go on with the one that was ended (the `study` job); its winner becomes the recipe."""
    if context.invoked_subcommand is not None:
        return
    from carsdepo_assets.commands.loop_steps import studied
    from carsdepo_assets.commands.pipeline import Pipeline

    asked: dict[str, Any] = {"trials": trials, "steps": steps, "minutes": minutes, "seed": seed}
    settings = read_settings(home)
    if plan:
        with explained():
            _say_plan(settings, asked, report)
        return
    config = {name: value for name, value in {**asked, "report_id": report}.items() if value is not None}
    with explained():
        lake_that_stands(settings)
        with quietly(log_of(settings, "study"), out), Pipeline.open(settings, "INFO") as pipeline:
            pipeline.run("build_dataset")  # the plan is of the dataset that the job takes
            _say_plan(settings, asked, report)
            say_plainly(f"Trials are trained now; what each came to is written to {log_of(settings, 'study')}.")
            told = studied(pipeline, config)
        _show(told)


@study.command()
def show(
    name: Annotated[str | None, typer.Argument(metavar="STUDY", help="A study's name; default: the newest.")] = None,
    as_json: AsJson = False,
    home: Home = None,
) -> None:
    """Show a study's leaderboard and what follows from it, from the ledger in the lake."""
    from carsdepo_assets.experiments.study.told import study_now

    settings = read_settings(home)
    with explained():
        told = study_now(lake_that_stands(settings), name)
    if as_json:
        print_json(told)
    else:
        _show(told)


@study.command()
def pin(
    name: Annotated[str, typer.Argument(metavar="STUDY", help="The study's name.")],
    trial: Annotated[int, typer.Argument(metavar="TRIAL", min=0, help="The trial's number.")],
    reason: Annotated[str, typer.Option("--reason", help="Why; it is kept with the study.")],
    home: Home = None,
) -> None:
    """Take another trial than the winner: the next recipe follows it."""
    from carsdepo_assets.commands.pipeline import Pipeline
    from carsdepo_assets.experiments.study.pinning import trial_to_pin
    from carsdepo_assets.orchestration.attribution import USER_TAG
    from carsdepo_assets.registry.ledger import person

    settings = read_settings(home)
    actor = person()
    with explained():
        if not reason.strip():
            raise ValueError("Say why: --reason must not be empty. It is kept with the study.")
        trial_to_pin(lake_that_stands(settings), name, trial)  # what is wrong is said before a run
        with quietly(log_of(settings, "study"), out), Pipeline.open(settings, alone=False) as pipeline:
            config = {"study": name, "trial": trial, "reason": reason, "actor": actor}
            pipeline.run("pin_recipe", ops={"pin": {"config": config}}, tags={USER_TAG: actor})
    say_plainly(f"Trial {trial} of study {name} is pinned by {actor}: the next training follows it.")


def _say_plan(settings: Settings, asked: dict[str, Any], report: str | None) -> None:
    """Says what a study would do now; nothing is written."""
    from datetime import UTC, datetime

    from carsdepo_assets.environments import resources
    from carsdepo_assets.experiments.study.planning import described, make_plan
    from carsdepo_assets.experiments.study.policy_changes import with_changes
    from carsdepo_assets.experiments.study_assets import trial_place

    policy = with_changes(settings.policy(), **asked)
    place = trial_place(resources(settings)["compute"], policy)
    lake = lake_that_stands(settings)
    for line in described(make_plan(lake, policy, place, settings.home, datetime.now(UTC), report_id=report)):
        say_plainly(line)


def _show(told: dict[str, Any]) -> None:
    table = Table("trial", "result", "mAP@.5", "interval", "recipe", "seconds", escape(told["currency"]))
    for row in told["leaderboard"]:
        interval = "" if row["low"] is None else f"{row['low']:.3f} to {row['high']:.3f}"
        table.add_row(
            str(row["trial"]),
            f"{row['state']}{': ' if row['marks'] else ''}{row['marks']}",
            "" if row["map50"] is None else f"{row['map50']:.3f}",
            interval,
            escape(f"{row['detector']}: {row['changed']}"),
            "" if row["seconds"] is None else f"{row['seconds']:.0f}",
            "" if row["money"] is None else f"{row['money']:.2f}",
        )
    out.print(f"Study {told['study']} on dataset {told['dataset']}", highlight=False, markup=False)
    out.print(table)
    say_plainly(told["conclusion"] or "The study is not concluded: `carsdepo study` goes on with it.")
    if told["pinned"] is not None:
        say_plainly(f"Pinned: trial {told['pinned']['trial']} by {told['pinned']['actor']}: {told['pinned']['reason']}")
