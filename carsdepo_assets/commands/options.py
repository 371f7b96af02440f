"""What the commands share: options, lines on the terminal, and how errors end a command."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

from carsdepo_assets.commands.interruption import was_interrupted
from carsdepo_assets.redaction import redact
from carsdepo_assets.settings import Settings

if TYPE_CHECKING:
    from carsdepo_assets.lake.lake import Lake

out, err = Console(), Console(stderr=True)
LAKE_VARIABLE = "CARSDEPO_LAKE"

Home = Annotated[
    Path | None, typer.Option("--home", help="Folder of all local state; default: $CARSDEPO_HOME, else ./.carsdepo.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs instead of a table.")]
Model = Annotated[
    str,
    typer.Option(
        "--model",
        help="A version number, a digest (or its first digits), or latest: the model in production, or, where there is "
        "none, the newest candidate that met the floor.",
    ),
]
NamedModel = Annotated[
    str,
    typer.Argument(
        metavar="MODEL", help="A digest or its first digits, a version number, latest, production or staging."
    ),
]
Minutes = Annotated[
    float | None, typer.Option("--minutes", min=0.05, help="Wall time of the training; default: the policy's.")
]
Steps = Annotated[
    int | None, typer.Option("--steps", min=1, help="Optimizer steps of the training; --minutes then only caps them.")
]
Mapping = Annotated[
    list[str] | None,
    typer.Option(
        "--map",
        metavar="OLD=NEW",
        help="A class of the folder (its name, or its id) and what it becomes: a class of the platform, what looks "
        "like damage and is none (such as reflection), or - to leave its labels out; repeat for each.",
    ),
]
ClassList = Annotated[
    str | None,
    typer.Option(
        "--classes",
        metavar="NAME,NAME",
        help="Names of the class ids 0, 1 and so on of YOLO labels, where no file of the folder says them.",
    ),
]
Resplit = Annotated[
    bool,
    typer.Option(
        "--resplit", help="Deal the photographs to train, val and test by car, whatever split the folder comes with."
    ),
]


Annotator = Annotated[
    str | None,
    typer.Option(
        "--annotator",
        metavar="NAME",
        help="Who drew the labels, where the label files name nobody. Labels of other annotators of the same "
        "photographs stay, and `carsdepo labels agreement` compares them.",
    ),
]


Licence = Annotated[
    str | None,
    typer.Option(
        "--licence",
        metavar="NAME",
        help="Licence of the photographs and labels: an SPDX identifier such as CC-BY-4.0, or words. It stands beside "
        "what files of the folder state.",
    ),
]
ClaimedBy = Annotated[
    str | None,
    typer.Option("--claimed-by", metavar="NAME", help="Who says that it is the licence; default: you."),
]


def class_mapping(pairs: list[str] | None) -> dict[str, str]:
    """The platform's class for each class name of the folder, from the values of --map.

    Raises:
        typer.BadParameter: A value is not old=new, or a name is mapped twice.
    """
    mapping: dict[str, str] = {}
    for item in pairs or []:
        old, sep, new = (part.strip() for part in item.partition("="))
        if not sep or not old or not new:
            raise typer.BadParameter(f"{item!r} is not old=new", param_hint="--map")
        if mapping.get(old, new) != new:
            raise typer.BadParameter(f"{old!r} cannot be both {mapping[old]} and {new}", param_hint="--map")
        mapping[old] = new
    return mapping


def known_detector(name: str | None) -> str | None:
    """The name itself. Raises typer.BadParameter, which lists the families, where it is none of theirs."""
    from carsdepo_assets.families.registry import UnknownFamily, known_family

    try:
        return None if name is None else known_family(name)
    except UnknownFamily as error:
        raise typer.BadParameter(str(error)) from error


def _detectors_beginning(incomplete: str) -> list[str]:
    from carsdepo_assets.families.registry import names

    return [name for name in names() if name.startswith(incomplete)]


DetectorName = Annotated[
    str | None,
    typer.Option(
        "--detector",
        help="A family of detectors, such as yolov8n or faster_rcnn; `carsdepo weights list` names them all. Default: "
        "the policy's.",
        callback=known_detector,
        autocompletion=_detectors_beginning,
    ),
]


def show_version(wanted: bool) -> None:
    """Ends the command with a line on the version, the code's revision where it is known, and Python."""
    if not wanted:
        return
    import importlib.metadata
    import platform

    from carsdepo_assets import __version__
    from carsdepo_assets.registry.source_digest import git_revision

    try:
        version = importlib.metadata.version("carsdepo")
    except importlib.metadata.PackageNotFoundError:  # run from a checkout that is not installed
        version = __version__
    revision = git_revision()
    code = f" (git {revision})" if revision else ""
    sys.stdout.write(f"carsdepo {version}{code}, Python {platform.python_version()}\n")
    raise typer.Exit


@contextmanager
def explained() -> Iterator[None]:
    """Ends the command with one line and exit code 1 on errors that say what to do; others keep their trace."""
    from carsdepo_assets.commands.dev import PortTaken
    from carsdepo_assets.commands.pipeline import PipelineError
    from carsdepo_assets.commands.services import ServiceError
    from carsdepo_assets.lake.lake import LakeError
    from carsdepo_assets.registry.signatures import SigningKeyError

    expected = (
        PipelineError, PortTaken, ServiceError, SigningKeyError, LakeError, LookupError, ValueError, OSError,
    )  # fmt: skip
    try:
        yield
    except expected as error:
        if isinstance(error, KeyError | IndexError) and not isinstance(error, LakeError):
            raise
        if was_interrupted():  # a worker that the signal has ended too, or Dagster, says so in other words
            raise KeyboardInterrupt from error
        err.print(f"[bold red]Error:[/] {escape(redact(str(error)))}", highlight=False, soft_wrap=True)
        for note in getattr(error, "__notes__", ()):
            err.print(escape(redact(note)), highlight=False, soft_wrap=True)
        raise typer.Exit(1) from error
    except _of_mlflow() as error:
        message = redact(str(error)).partition("\n")[0]
        advice = "Check that the server that CARSDEPO_MLFLOW names is running and accepts your credentials."
        err.print(f"[bold red]Error:[/] MLflow: {escape(message)} {advice}", highlight=False, soft_wrap=True)
        raise typer.Exit(1) from error


def _of_mlflow() -> tuple[type[Exception], ...]:
    """MLflow's errors, where this process has imported it: that takes seconds, which `status` does without."""
    errors = sys.modules.get("mlflow.exceptions")
    return () if errors is None else (errors.MlflowException,)


def read_settings(home: Path | None, *, own_lake: bool = False) -> Settings:
    """The installation's settings; a bad variable ends the command with a message that names it.

    Args:
        home: The folder of all local state; None: as the environment says.
        own_lake: Use the lake below home even where CARSDEPO_LAKE names another, and tell the user so.
    """
    variables = dict(os.environ)
    given = variables.pop(LAKE_VARIABLE, "") if own_lake else ""
    with explained():
        settings = Settings.read(variables, home=home)
    if given:
        say(f"{LAKE_VARIABLE} names {given}: this demo leaves it alone and works in {settings.lake}")
    return settings


def lake_that_stands(settings: Settings) -> Lake:
    """The installation's lake, for a command that only reads it; a home that is not there is no empty one.

    Raises:
        LakeError: There is none at that place; nothing was created.
    """
    from carsdepo_assets.lake.lake import Lake, LakeError

    if "://" not in settings.lake and not Path(settings.lake).is_dir():
        raise LakeError(
            f"there is no lake at {settings.lake}: either nothing was imported into the home {settings.home} yet, or "
            "--home or CARSDEPO_HOME names another folder than the one that you mean."
        )
    return Lake.open(settings.lake)


def print_json(value: Any) -> None:
    """Prints a value as indented JSON, for programs."""
    sys.stdout.write(json.dumps(value, indent=1, default=str) + "\n")


def say(text: str) -> None:
    """Prints a line with the time, on what begins now."""
    out.print(f"[dim]{time.strftime('%H:%M:%S')}[/] {escape(text)} …", highlight=False, soft_wrap=True)


def say_plainly(text: str) -> None:
    """Prints a line as it is."""
    out.print(escape(text), highlight=False, soft_wrap=True)
