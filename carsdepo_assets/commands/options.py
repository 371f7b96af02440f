"""What the commands share: their options, how they speak, how an error ends."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

from carsdepo_assets.redaction import redact
from carsdepo_assets.settings import Settings

out, err = Console(), Console(stderr=True)
LAKE_VARIABLE = "CARSDEPO_LAKE"

Home = Annotated[
    Path | None, typer.Option("--home", help="Folder of all state; default $CARSDEPO_HOME or ./.carsdepo.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs instead of a table.")]
Model = Annotated[
    str,
    typer.Option(
        "--model",
        help="A version number, a digest (or its first digits), or latest: production's model, and where it serves "
        "none the newest candidate that met the floor.",
    ),
]
Minutes = Annotated[float | None, typer.Option("--minutes", min=0.05, help="Training's wall time; default: policy.")]
Steps = Annotated[
    int | None, typer.Option("--steps", min=1, help="Training's optimizer steps; --minutes only caps them then.")
]
Mapping = Annotated[
    list[str] | None,
    typer.Option("--map", metavar="OLD=NEW", help="A class of the folder and ours that it is; repeat for each."),
]


def class_mapping(pairs: list[str] | None) -> dict[str, str]:
    """What --map says: the folder's class names -> ours. Raises typer.BadParameter."""
    mapping: dict[str, str] = {}
    for item in pairs or []:
        old, sep, new = (part.strip() for part in item.partition("="))
        if not sep or not old or not new:
            raise typer.BadParameter(f"{item!r} is not old=new", param_hint="--map")
        if mapping.get(old, new) != new:
            raise typer.BadParameter(f"{old!r} cannot be both {mapping[old]} and {new}", param_hint="--map")
        mapping[old] = new
    return mapping


def _known_detector(name: str | None) -> str | None:
    from carsdepo_assets.detectors.catalogue import NAMES

    if name is not None and name not in NAMES:
        raise typer.BadParameter(f"{name!r} is none of {', '.join(NAMES)}")
    return name


DetectorName = Annotated[
    str | None,
    typer.Option("--detector", help="yolov8n or faster_rcnn; default: policy.", callback=_known_detector),
]


@contextmanager
def explained() -> Iterator[None]:
    """Errors that tell the user what to do end as one line and exit code 1; the rest keep their trace."""
    from carsdepo_assets.commands.dev import PortTaken
    from carsdepo_assets.commands.pipeline import PipelineError
    from carsdepo_assets.commands.services import ServiceError
    from carsdepo_assets.lake.lake import LakeError

    try:
        yield
    except (PipelineError, PortTaken, ServiceError, LakeError, LookupError, ValueError, OSError) as error:
        if isinstance(error, KeyError | IndexError) and not isinstance(error, LakeError):
            raise
        err.print(f"[bold red]Error:[/] {escape(redact(str(error)))}", highlight=False, soft_wrap=True)
        for note in getattr(error, "__notes__", ()):
            err.print(escape(redact(note)), highlight=False, soft_wrap=True)
        raise typer.Exit(1) from error
    except _of_mlflow() as error:
        message = redact(str(error)).partition("\n")[0]
        advice = "Look whether what CARSDEPO_MLFLOW names is up and lets you in."
        err.print(f"[bold red]Error:[/] MLflow: {escape(message)} {advice}", highlight=False, soft_wrap=True)
        raise typer.Exit(1) from error


def _of_mlflow() -> tuple[type[Exception], ...]:
    """MLflow's errors, where this process has imported it: that takes seconds, which `status` does without."""
    errors = sys.modules.get("mlflow.exceptions")
    return () if errors is None else (errors.MlflowException,)


def read_settings(home: Path | None, *, own_lake: bool = False) -> Settings:
    """The installation's settings; a variable that does not fit ends the command with its name.

    own_lake: the lake below home, whatever CARSDEPO_LAKE says; that it is not used is said.
    """
    variables = dict(os.environ)
    given = variables.pop(LAKE_VARIABLE, "") if own_lake else ""
    with explained():
        settings = Settings.read(variables, home=home)
    if given:
        say(f"{LAKE_VARIABLE} names {given}: this demo leaves it alone and works in {settings.lake}")
    return settings


def print_json(value: Any) -> None:
    sys.stdout.write(json.dumps(value, indent=1, default=str) + "\n")


def say(text: str) -> None:
    """A line with the time, for what begins now."""
    out.print(f"[dim]{time.strftime('%H:%M:%S')}[/] {escape(text)} …", highlight=False, soft_wrap=True)
