"""Shows the account of an import on a terminal, and in the UI as an observation of the assets that it filled."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

if TYPE_CHECKING:
    import dagster as dg

    from carsdepo_assets.data.imports.account import ImportAccount


def show_account(account: ImportAccount, console: Console) -> None:
    """Prints an account: a table on a terminal, plain lines elsewhere."""
    from carsdepo_assets.data.folders.counts import counted

    def line(text: str, style: str = "") -> None:
        shown = f"[{style}]{escape(text)}[/]" if style else escape(text)
        console.print(shown, highlight=False, soft_wrap=True)

    title = f"{account.folder}: {counted(account.files, 'file')}" + (
        " (dry run: nothing was copied)" if account.dry_run else ""
    )
    line(title, "bold")
    for name, value in (
        ("import", account.name),
        ("format", account.format or "no labels"),
        ("layout", account.layout),
        ("classes", "; ".join(account.classes)),
        ("labels by annotator", "; ".join(account.annotators)),
        ("names of classes", account.class_names_from),
        ("splits", account.splits.removeprefix("splits ")),
        ("photographs", _figures(account)),
    ):
        if value:
            line(f"  {name}: {value}")
    if console.is_terminal:
        table = Table("files", "what", "became", "why")
        table.add_column("first", overflow="fold")
        table.columns[0].justify = "right"
        for one in account.lines:
            table.add_row(
                str(one.files), one.kind, one.state, escape(one.reason), escape(", ".join(_first(one.state, one.first)))
            )
        console.print(table)
    else:
        for one in account.lines:
            first = ", ".join(_first(one.state, one.first))
            why = f": {one.reason}" if one.reason else ""
            line(f"  {counted(one.files, one.kind)} {one.state}{why}{first and f' ({first})'}")
    for note in account.notes:
        line(f"note: {note}", "yellow")
    for failure in account.failures:
        line(f"not whole: {failure}", "red")
    for todo in account.next:
        line(f"next: {todo}")


def _figures(account: ImportAccount) -> str:
    return ", ".join(
        f"{n} {_singular(what) if n == 1 else what.replace('_', ' ')}" for what, n in account.figures.items()
    )


def _singular(figure: str) -> str:
    return {"boxes": "box", "groups": "group"}.get(figure, figure.replace("_", " "))


def _first(state: str, names: tuple[str, ...]) -> tuple[str, ...]:
    """Names of files that are in order are not worth their room."""
    return () if state in ("accepted", "unchanged") else names


def observe_account(account: ImportAccount, instance: dg.DagsterInstance) -> None:
    """Records the account in Dagster, beside the batches of photographs and labels that the import led to."""
    import dagster as dg
    import pandas as pd

    from carsdepo_assets.orchestration.ui_metadata import metadata_table

    rows = [
        {"files": one.files, "what": one.kind, "became": one.state, "why": one.reason, "first": ", ".join(one.first)}
        for one in account.lines
    ]
    metadata: dict[str, Any] = {
        "import": account.name,
        "folder": account.folder,
        "files": account.files,
        "format": account.format or "no labels",
        "layout": account.layout,
        "classes": "; ".join(account.classes),
        "photographs": _figures(account),
        "notes": "; ".join(account.notes),
        "account": metadata_table(pd.DataFrame(rows)),
        "account_json": dg.MetadataValue.json(account.as_json()),
    }
    for asset in ("uploads", "labels"):
        instance.report_runless_asset_event(
            dg.AssetObservation(asset, metadata=metadata, description=f"account of the import {account.name}")
        )
