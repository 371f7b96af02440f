"""The command augmentation."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from carsdepo_assets.commands.options import (
    AsJson,
    Home,
    explained,
    lake_that_stands,
    print_json,
    read_settings,
    say_plainly,
)


def augmentation(
    dataset: Annotated[
        str | None, typer.Option("--dataset", help="A version of the dataset; default: the model's, else the newest.")
    ] = None,
    model: Annotated[str | None, typer.Option("--model", help="A model whose recipe's augmentation is shown.")] = None,
    family: Annotated[
        str | None, typer.Option("--family", help="A family of detectors; default: that of the newest recipe.")
    ] = None,
    photographs: Annotated[int, typer.Option("--photographs", min=1, max=12, help="How many are shown.")] = 6,
    epochs: Annotated[int, typer.Option("--epochs", min=1, max=8, help="How many pictures of each.")] = 4,
    page: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Write the page with the pictures to this file.")
    ] = None,
    as_json: AsJson = False,
    home: Home = None,
) -> None:
    """Show how a training varies photographs, by the training's own function and seed."""
    from carsdepo_assets.commands.named_model import model_named
    from carsdepo_assets.lake.objects import write_atomic
    from carsdepo_assets.site.augmentation_page import augmentation_html
    from carsdepo_assets.site.augmented_examples import augmented_examples

    settings = read_settings(home)
    with explained():
        lake = lake_that_stands(settings)
        digest = None if model is None else model_named(settings, lake, model)
        examples = augmented_examples(
            lake,
            settings.policy(),
            dataset=dataset,
            model=digest,
            family=family,
            photographs=photographs,
            epochs=epochs,
        )
        if page is not None:
            write_atomic(page, augmentation_html(examples, digest or "", photographs, epochs).encode())
    facts = {
        "version": examples.settings.version,
        "family": examples.family,
        "dataset": examples.dataset,
        "where_from": examples.where_from,
        "settings": examples.settings.model_dump(mode="json"),
        "resize": examples.resize,
        "normalisation": examples.normalisation,
        "seed": examples.seed,
        "boxes": examples.boxes,
        "dropped": examples.dropped,
        "page": None if page is None else str(page),
    }
    if as_json:
        print_json(facts)
        return
    say_plainly(f"augmentation {examples.settings.version} of {examples.title}: {examples.settings.described()}")
    say_plainly(examples.where_from)
    say_plainly(f"resize: {examples.resize}")
    say_plainly(f"normalisation: {examples.normalisation}")
    say_plainly(f"dropped: {examples.dropped} of {examples.boxes} boxes of the pictures that are shown")
    if page is not None:
        say_plainly(f"page: {page}")
    say_plainly(f"on the site, while `carsdepo dev` runs: {settings.site_for_people.rstrip('/')}/augmentation")
