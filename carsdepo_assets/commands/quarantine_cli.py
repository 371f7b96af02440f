"""`carsdepo quarantine list`, `show` and `readmit`: what was refused, why, and having it looked at again."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from carsdepo_assets.commands.options import (
    AsJson,
    Home,
    err,
    explained,
    lake_that_stands,
    out,
    print_json,
    read_settings,
    say,
)
from carsdepo_assets.commands.terminal import log_of, quietly
from carsdepo_assets.settings import Settings

if TYPE_CHECKING:
    from carsdepo_assets.data.batches.quarantine import QuarantinedFile, Readmitted, State
    from carsdepo_assets.lake.lake import Lake

quarantine = typer.Typer(
    no_args_is_help=True, help="Show which files were refused and why, and have them looked at again."
)
_NOUNS = {"photograph": "photographs", "label": "label files", "business": "business files"}


def _known_kind(kind: str | None) -> str | None:
    from carsdepo_assets.data.batches.quarantine import KINDS

    if kind is not None and kind not in KINDS:
        raise typer.BadParameter(f"{kind!r} is none of {', '.join(KINDS)}")
    return kind


Kind = Annotated[
    str | None, typer.Option("--kind", help="Only photograph, label, business or capture.", callback=_known_kind)
]
Reason = Annotated[str | None, typer.Option("--reason", help="Only files refused for this reason.")]
ImportName = Annotated[str | None, typer.Option("--import", metavar="NAME", help="Only files of this import.")]


def files_in_quarantine(lake: Lake) -> list[QuarantinedFile]:
    """All files that were ever refused, of every step, with what became of them."""
    from carsdepo_assets.business.file_states import newest_readings
    from carsdepo_assets.data.batches.quarantine import BusinessFiles, quarantined_files

    return quarantined_files(lake, BusinessFiles(*newest_readings(lake)))


@quarantine.command("list")
def list_(
    kind: Kind = None,
    reason: Reason = None,
    import_name: ImportName = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="Files to list; the counts are of all.")] = 20,
    resolved: Annotated[
        bool, typer.Option("--resolved", help="List files that were refused once and accepted since, too.")
    ] = False,
    as_json: AsJson = False,
    home: Home = None,
) -> None:
    """Count the files in quarantine by kind and reason, and list those that were refused last."""
    from carsdepo_assets.data.batches.quarantine import counted, selected

    settings = read_settings(home)
    everything = _files(settings)
    _check_words(settings, everything, reason, import_name)
    meant = selected(everything, kind, reason, import_name, ("open", "asked", "resolved"))
    still_open = [file for file in meant if file.state != "resolved"]
    shown = (meant if resolved else still_open)[:limit]
    if as_json:
        counts = [{"kind": k, "reason": r, "files": n} for k, r, n in counted(still_open)]
        files = [_described(file) for file in shown]
        print_json(
            {"open": len(still_open), "resolved": len(meant) - len(still_open), "counts": counts, "files": files}
        )
        return
    if not still_open:
        out.print(f"Nothing is in quarantine{' of what is asked for' if meant != everything else ''}.", soft_wrap=True)
    else:
        counts_table = Table("kind", "reason", "files")
        for one_kind, one_reason, number in counted(still_open):
            counts_table.add_row(one_kind, escape(one_reason), f"{number:,}")
        out.print(counts_table)
    if shown:
        table = Table()
        table.add_column("file", overflow="fold")
        table.add_column("reason")
        table.add_column("what is wrong", overflow="fold")
        for file in shown:
            first = file.newest[0]
            where = f"line {first.line}: " if first.line is not None else ""
            more = f" (and {len(file.newest) - 1} more)" if len(file.newest) > 1 else ""
            earlier = f"; {file.still_counts}" if file.still_counts else ""
            mark = {"open": "", "asked": " (asked for again)", "resolved": " (resolved)"}[file.state]
            table.add_row(
                escape(file.key) + mark,
                escape(", ".join(file.reasons)),
                escape(f"{where}{first.detail}{more}{earlier}"),
            )
        out.print(table)
    rest = len(meant if resolved else still_open) - len(shown)
    lines = [f"{rest:,} more: raise --limit."] if rest else []
    if len(meant) > len(still_open) and not resolved:
        lines.append(f"{len(meant) - len(still_open):,} were refused once and accepted since (--resolved).")
    if still_open:
        lines.append("`carsdepo quarantine show FILE` says what to do about one.")
    _print(*lines)


@quarantine.command()
def show(
    key: Annotated[str, typer.Argument(metavar="FILE", help="Its key in the lake, or the end of it.")],
    as_json: AsJson = False,
    home: Home = None,
) -> None:
    """Show everything that is wrong with a file, line by line, and what to do about it."""
    from carsdepo_assets.data.batches.quarantine import file_named
    from carsdepo_assets.data.batches.quarantine_advice import advice

    files = _files(read_settings(home))
    with explained():
        file = file_named(files, key)
    if as_json:
        print_json(_described(file))
        return
    states = {
        "open": "in quarantine",
        "asked": "in quarantine, and to be looked at again",
        "resolved": "accepted since: nothing is to be done",
    }
    _print(f"{file.key}: a {file.kind}, {states[file.state]}.")
    table = Table("line", "reason")
    table.add_column("what is wrong", overflow="fold")
    table.add_column("when")
    table.add_column("batch", overflow="fold")
    for one in file.refusals:
        line = "" if one.line is None else str(one.line)
        table.add_row(line, escape(one.reason), escape(one.detail), f"{one.at:%Y-%m-%d %H:%M}", escape(one.batch_id))
    out.print(table)
    if file.still_counts:
        _print(f"{file.still_counts[:1].upper()}{file.still_counts[1:]}.")
    if file.state != "resolved":
        _print(*dict.fromkeys(f"{reason}: {advice(file.kind, reason)}." for reason in file.reasons))


@quarantine.command()
def readmit(
    keys: Annotated[list[str] | None, typer.Argument(metavar="[FILE]...", help="Keys, or the ends of them.")] = None,
    kind: Kind = None,
    reason: Reason = None,
    import_name: ImportName = None,
    now: Annotated[
        bool, typer.Option("--now", help="Ingest them in this process instead of leaving it to `carsdepo dev`.")
    ] = False,
    as_json: AsJson = False,
    home: Home = None,
) -> None:
    """Have files looked at again as they are, after the policy, the class map or their photograph has changed."""
    from carsdepo_assets.business.file_states import read_again
    from carsdepo_assets.data.batches.quarantine import Readmitted, file_named, selected
    from carsdepo_assets.data.batches.quarantine import readmit as ask
    from carsdepo_assets.lake.lake import Lake
    from carsdepo_assets.registry.ledger import person

    if not keys and kind is None and reason is None and import_name is None:
        raise typer.BadParameter("name files, or say which by --reason, --kind or --import", param_hint="FILE")
    settings = read_settings(home)
    files = _files(settings)
    _check_words(settings, files, reason, import_name)
    with explained():
        named = [file_named(files, key) for key in keys or []]
        meant = list(dict.fromkeys(named)) if keys else files
        meant = selected(meant, kind, reason, import_name, ("open", "asked", "resolved") if keys else ("open", "asked"))
        result = Readmitted((), (), ())
        became: dict[str, str] = {}
        if meant:
            lake = Lake.open(settings.lake)
            result = ask(lake, meant, datetime.now(UTC), person())
            read_again(lake, [file.key for file in result.business])
        if now and (result.asked or result.business):
            _ingest(settings, result)
            became = {file.key: file.state for file in files_in_quarantine(lake)}
    asked = [file.key for file in (*result.asked, *result.business)]
    if as_json:
        described: dict[str, Any] = {
            "asked": asked,
            "left": [{"key": file.key, "why": why} for file, why in result.left],
        }
        if became:
            described["accepted"] = [key for key in asked if became[key] == "resolved"]
            described["still_refused"] = [key for key in asked if became[key] != "resolved"]
        print_json(described)
        return
    for file, why in result.left:
        err.print(f"left as it is: {file.key}: {why}", highlight=False, markup=False, soft_wrap=True)
    _print(_asked(result, [became[key] == "resolved" for key in asked if key in became] if now else None))


def _ingest(settings: Settings, result: Readmitted) -> None:
    from carsdepo_assets.commands.pipeline import Pipeline

    with quietly(log_of(settings, "quarantine"), out), Pipeline.open(settings, "INFO") as pipeline:
        if result.asked:
            say("ingesting")
            pipeline.ingest("uploads")
            pipeline.ingest("labels")
        if result.business:
            say("reading business files")
            pipeline.run("business")


def _asked(result: Readmitted, accepted: Sequence[bool] | None) -> str:
    """What a person is told; `accepted`: of each file that was looked at again whether it was taken, if any was."""
    counts = {kind: sum(file.kind == kind for file in (*result.asked, *result.business)) for kind in _NOUNS}
    parts = [
        f"{number:,} {_NOUNS[kind] if number != 1 else _NOUNS[kind][:-1]}" for kind, number in counts.items() if number
    ]
    if not parts:
        return "Nothing to look at again."
    if accepted is not None:
        refused = len(accepted) - sum(accepted)
        more = "; `carsdepo quarantine list` says why" if refused else ""
        return f"Looked at again: {', '.join(parts)}: accepted {sum(accepted):,}, still refused {refused:,}{more}."
    how = "`carsdepo dev` does so by itself while it runs; `--now` does it here."
    return f"To be looked at again: {', '.join(parts)}. {how}"


def _files(settings: Settings) -> list[QuarantinedFile]:
    with explained():
        return files_in_quarantine(lake_that_stands(settings))


def _check_words(settings: Settings, files: Sequence[QuarantinedFile], reason: str | None, name: str | None) -> None:
    """Ends the command where it asks for a reason or an import that there is not: nothing found would be good news."""
    from carsdepo_assets.data.batches.quarantine import selected
    from carsdepo_assets.data.batches.quarantine_advice import REASONS
    from carsdepo_assets.lake.annotator_folders import import_of

    there = sorted({one.reason for file in files for one in file.refusals})
    if reason is not None and reason not in REASONS and reason not in there:
        raise typer.BadParameter(
            f"{reason!r} is no reason; in quarantine there are {', '.join(there) or 'none'}", param_hint="--reason"
        )
    states: tuple[State, ...] = ("open", "asked", "resolved")
    if name is None or selected(files, import_name=name, states=states):
        return
    with explained():
        lake = lake_that_stands(settings)
        folder = name.strip("/")
        if any(True for top in ("uploads", "labels") for _ in lake.list(f"raw/{top}/{folder}/")):
            return
        names = {str(one) for one in lake.read("imports", ["name"])["name"].to_pylist()}
        names |= {import_of(parts[2]) for file in files if len(parts := file.key.split("/")) > 3 and parts[0] == "raw"}
    raise typer.BadParameter(
        f"{name!r} is no import of {settings.home}; there are {', '.join(sorted(names)) or 'none'}",
        param_hint="--import",
    )


def _described(file: QuarantinedFile) -> dict[str, Any]:
    from carsdepo_assets.data.batches.quarantine_advice import advice

    what_to_do: Sequence[str] = [] if file.state == "resolved" else [advice(file.kind, r) for r in file.reasons]
    return {
        "key": file.key,
        "kind": file.kind,
        "state": file.state,
        "reasons": file.reasons,
        "still_counts": file.still_counts or None,
        "what_to_do": list(dict.fromkeys(what_to_do)),
        "refusals": [vars(one) for one in file.refusals],
    }


def _print(*lines: str) -> None:
    for line in lines:
        out.print(escape(line), highlight=False, soft_wrap=True)
