"""The `carsdepo` command. Exit codes: 0 success, 1 failure (the message says why), 2 wrong arguments, 130 Ctrl-C."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer
from typer.core import TyperGroup
from typer.exceptions import TyperException

from carsdepo_assets import redaction
from carsdepo_assets.commands import (
    augmentation_cli,
    card_cli,
    dataset_cli,
    explore_cli,
    labels_cli,
    loop_cli,
    model_cli,
    policy_cli,
    quarantine_cli,
    release_cli,
    reproduce_cli,
    study_cli,
    weights_cli,
)
from carsdepo_assets.commands.interruption import interruptible
from carsdepo_assets.commands.options import show_version
from carsdepo_assets.demo import cli as demo_cli


@contextmanager
def _home_named_behind() -> Iterator[None]:
    """Says where --home belongs, where it stands before the name of a command."""
    try:
        yield
    except TyperException as error:
        command = getattr(getattr(error, "ctx", None), "command", None)
        # Only the error of an unknown option has its name.
        if getattr(error, "option_name", "") == "--home" and isinstance(command, TyperGroup):
            error.message += " here: it goes behind the command, as in `carsdepo status --home FOLDER`."
        raise


class InterruptibleGroup(TyperGroup):
    """Ends its commands on Ctrl-C with one line, before Typer says "Aborted" and ends them with 1."""

    def invoke(self, ctx: Any) -> Any:
        """Runs the command that the line names."""
        with interruptible(), _home_named_behind():
            return super().invoke(ctx)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Takes the words of the line apart."""
        with _home_named_behind():
            return super().parse_args(ctx, args)


app = typer.Typer(
    cls=InterruptibleGroup,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Finds scratches and dents on photographs of cars: imports photographs and labels, trains and evaluates "
    "models, serves them, and watches what they answer.",
)


@app.callback()
def carsdepo(
    version: Annotated[
        bool,
        typer.Option("--version", callback=show_version, is_eager=True, help="Show which version this is, and end."),
    ] = False,
) -> None:
    """What every command has in common."""


app.command()(demo_cli.demo)
app.command()(loop_cli.doctor)
app.command()(loop_cli.dev)
app.command(name="import")(loop_cli.import_)
app.command()(labels_cli.export)
app.command()(explore_cli.explore)
app.command()(augmentation_cli.augmentation)
app.command()(loop_cli.train)
app.add_typer(study_cli.study, name="study")
app.command()(model_cli.predict)
app.command()(model_cli.evaluate)
app.command()(model_cli.lineage)
app.command()(reproduce_cli.reproduce)
app.command()(model_cli.status)
app.command()(release_cli.serve)
app.command()(release_cli.send)
app.command()(release_cli.sign)
app.command()(release_cli.approve)
app.command()(release_cli.reject)
app.command()(release_cli.rollback)
app.add_typer(release_cli.golden, name="golden")
app.add_typer(dataset_cli.dataset, name="dataset")
app.add_typer(labels_cli.labels, name="labels")
app.add_typer(policy_cli.policy, name="policy")
app.add_typer(card_cli.model, name="model")
app.add_typer(quarantine_cli.quarantine, name="quarantine")
app.add_typer(weights_cli.weights, name="weights")


def main() -> None:
    """Runs the command that the arguments name. The script itself begins in start.py."""
    redaction.install()
    app()
