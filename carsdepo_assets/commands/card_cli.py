"""The command model card."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from carsdepo_assets.commands.options import Home, NamedModel, explained, lake_that_stands, out, read_settings

model = typer.Typer(no_args_is_help=True, help="One model: its card.")


@model.command()
def card(
    named: NamedModel,
    file: Annotated[
        Path | None, typer.Option("--out", help="File to write: .html or .md; default: Markdown on the terminal.")
    ] = None,
    home: Home = None,
) -> None:
    """Make a model's card of what is stored now, keep it in the lake, and print or write it."""
    from carsdepo_assets.commands.named_model import model_named
    from carsdepo_assets.lake.objects import write_atomic
    from carsdepo_assets.registry.card_pages import card_key, markdown_key, write_card

    settings = read_settings(home)
    with explained():
        if file is not None and file.suffix not in (".html", ".md"):
            raise typer.BadParameter(f"{file} ends in neither .html nor .md", param_hint="--out")
        lake = lake_that_stands(settings)
        digest = model_named(settings, lake, named)
        page = write_card(lake, digest, settings.policy())
        as_page = file is not None and file.suffix == ".html"
        content = lake.get(card_key(digest) if as_page else markdown_key(digest))
        if file is None:
            typer.echo(content.decode())
            return
        write_atomic(file, content)
    out.print(f"Wrote {file}; the lake has it at {page}.", highlight=False, markup=False, soft_wrap=True)
