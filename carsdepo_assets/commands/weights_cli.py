"""`carsdepo weights list` and `get`: the families of detectors, and the published weights that they can start from."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from carsdepo_assets.commands.options import (
    AsJson,
    Home,
    explained,
    known_detector,
    out,
    print_json,
    read_settings,
    say,
)

weights = typer.Typer(
    no_args_is_help=True, help="List the families of detectors, and fetch published weights that they start from."
)


@weights.command("list")
def list_families(as_json: AsJson = False, home: Home = None) -> None:
    """List the families of detectors: their licences, what they start from, and which published weights are there."""
    from carsdepo_assets.families.registry import family_of, names

    folder = read_settings(home).home / "weights"
    rows: list[dict[str, Any]] = []
    for family in map(family_of, names()):
        published = family.pretrained
        rows.append(
            {
                "name": family.name,
                "title": family.title,
                "licence": family.licence,
                "starts": list(family.starts),
                "file": published.file if published else None,
                "megabytes": published.megabytes if published else None,
                "weights_licence": published.licence if published else family.imagenet_licence or None,
                "there": published is not None and (folder / published.file).is_file(),
            }
        )
    if as_json:
        print_json(rows)
        return
    # Narrow columns, so that 80 characters hold whole licences: half of one tells nobody what it is.
    table = Table("name, family", "licence of the code", "starts from", "published\nweights")
    for row in rows:
        place = "none" if row["file"] is None else "there" if row["there"] else "absent"
        name = f"{row['name']}\n[dim]{escape(row['title'])}[/dim]"
        table.add_row(name, escape(row["licence"]), ",\n".join(row["starts"]), place)
    out.print(table)
    out.print("`carsdepo weights get NAME` fetches published weights. Nothing is downloaded unasked.")


@weights.command()
def get(
    name: Annotated[str, typer.Argument(metavar="FAMILY", help="Such as dfine_n.", callback=known_detector)],
    url: Annotated[
        str | None, typer.Option("--from", metavar="URL", help="A mirror's address of the file; default: its authors'.")
    ] = None,
    home: Home = None,
) -> None:
    """Fetch the weights that a family's authors publish, compare their sha256, and keep them in the home."""
    from carsdepo_assets.detectors.published_weights import fetch
    from carsdepo_assets.families.registry import family_of

    family, folder = family_of(name), read_settings(home).home / "weights"
    published = family.pretrained
    if published is not None and not (folder / published.file).is_file():
        say(f"{published.file}: about {published.megabytes:g} MB, {published.licence}.")
    with explained():
        fetched = fetch(family, folder, url)
    what = "is fetched" if fetched.is_new else "was there"
    compared = ", and equals the published one" if fetched.compared else ""
    say(f"{fetched.path} {what}. Its sha256 is {fetched.sha256}{compared}.")
    say(f"A first model of {family.name} starts from it; another one with its recipe's init `pretrained`.")
