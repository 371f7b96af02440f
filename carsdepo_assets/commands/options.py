"""What the commands share: their options, how they speak, how an error ends."""

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

from carsdepo_assets.redaction import redact
from carsdepo_assets.settings import Settings

out, err = Console(), Console(stderr=True)

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
        err.print(f"[bold red]Error:[/] {redact(str(error))}", highlight=False, soft_wrap=True)
        raise typer.Exit(1) from error


def read_settings(home: Path | None) -> Settings:
    """The installation's settings; a variable that does not fit ends the command with its name."""
    with explained():
        return Settings.read(home=home)


def print_json(value: Any) -> None:
    sys.stdout.write(json.dumps(value, indent=1, default=str) + "\n")


def say(text: str) -> None:
    out.print(f"[dim]{time.strftime('%H:%M:%S')}[/] {text} …", highlight=False)
