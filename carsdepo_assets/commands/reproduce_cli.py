"""The command reproduce."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from carsdepo_assets.commands.options import (
    AsJson,
    Home,
    NamedModel,
    explained,
    lake_that_stands,
    out,
    print_json,
    read_settings,
    say,
)

if TYPE_CHECKING:
    from carsdepo_assets.commands.reproduction.fields import ComparedField, Reproduction

_WIDEST = 60  # characters of a field's name that push the values aside


def reproduce(
    model: NamedModel,
    into: Annotated[
        Path | None,
        typer.Option("--into", help="Folder for the clean home and lake; default: reproductions/DIGEST in the home."),
    ] = None,
    anyway: Annotated[
        bool, typer.Option("--anyway", help="Train although photographs or labels are not what they were.")
    ] = False,
    as_json: AsJson = False,
    home: Home = None,
) -> None:
    """Make a model again from its lineage in a clean folder, and compare data, weights and figures field by field.

    Exit code 0 only where all are the same. What is missing, and code, libraries or a processor that are others, are
    named before the training starts. Killed, it goes on when it is called again.
    """
    from carsdepo_assets.commands.named_model import model_named
    from carsdepo_assets.commands.reproduction.running import reproduce as run

    settings = read_settings(home)
    with explained():
        lake = lake_that_stands(settings)
        digest = model_named(settings, lake, model)
        folder = into or settings.home / "reproductions" / digest
        result = run(settings, lake, digest, folder.absolute(), (lambda text: None) if as_json else say, anyway=anyway)
    if as_json:
        print_json(result.as_json())
    else:
        show(result)
    if result.verdict != "same":
        raise typer.Exit(1)


def show(result: Reproduction) -> None:
    """Prints the fields by part, one line each, then the verdict."""
    style = {"differs": "bold red", "missing": "bold red", "not recorded": "dim", "same": "green"}
    width = min(_WIDEST, max(len(f.name) for f in result.fields))
    part = None
    for f in result.fields:
        if f.part != part:
            out.print(f"[italic]{f.part}[/]")
            part = f.part
        state = f"[{style[f.state]}]{f.state:12}[/]"
        out.print(f"  {state} {escape(f.name):{width}}  {escape(_values(f))}", highlight=False, soft_wrap=True)
        if f.note and f.state != "same":
            out.print(f"{'':15} {escape(f.note)}", highlight=False, soft_wrap=True)
    out.print()
    for sentence in (*result.why, *result.notes):
        out.print(escape(sentence), highlight=False, soft_wrap=True)
    name = f"Model {result.model}"
    if result.verdict == "same":
        text = f"{name}: same. Data, weights and figures are what they were, to the last bit."
    elif result.verdict == "differs":
        text = f"{name}: differs. Made again it is model {result.made_again}."
    else:
        text = f"{name}: not made again, as what it was made of is not what it was; --anyway trains on what is there."
    out.print(text, highlight=False, soft_wrap=True)


def _values(field: ComparedField) -> str:
    if field.state == "same":
        return field.got + (f" ({field.note})" if field.note else "")
    if field.state == "not recorded":
        return f"now {field.got}" if field.got else ""
    return f"expected {field.expected or 'nothing'}, got {field.got or 'nothing'}"
