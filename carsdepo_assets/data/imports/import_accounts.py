"""Makes the account of an import out of what was copied and what ingestion made of it, and stores it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime

from carsdepo_assets.data.batches.batches import is_label, is_photograph
from carsdepo_assets.data.imports.account import READ, FileOutcome, ImportAccount, ImportState, account_lines, printable
from carsdepo_assets.data.imports.import_states import KeyState, key_states, label_figures
from carsdepo_assets.data.imports.importing import ImportResult
from carsdepo_assets.data.imports.layouts import FileKind
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.policy import Policy

_SHOWN = 3


def account_of(
    lake: Lake | None, result: ImportResult, policy: Policy, now: datetime, dry_run: bool = False
) -> ImportAccount:
    """The account of an import, as far as it is ingested.

    Args:
        lake: where it was imported to; None: there is none yet.
        result: what was copied.
        policy: the class map names the classes.
        now: the time of the import, with a time zone.
        dry_run: nothing was copied; the account says what would be.
    """
    outcomes = list(result.outcomes)
    figures: dict[str, int] = {}
    if lake is not None and not dry_run:
        states = key_states(lake, [key for key in result.keys.values() if is_photograph(key) or is_label(key)])
        outcomes = [_settled(outcome, states.get(result.keys.get(outcome.path, ""))) for outcome in outcomes]
        figures = label_figures(lake, [key for key in result.keys.values() if is_photograph(key)])
    if result.gone:
        figures["gone"] = len(result.gone)
    layout, listing = result.layout, result.layout.listing
    lines = account_lines(outcomes)
    digest = hashlib.sha256(f"{result.name}\0{layout.folder}".encode("utf-8", "backslashreplace")).hexdigest()[:8]
    account = ImportAccount(
        import_id=f"{now:%Y%m%dT%H%M%S%f}-{digest}",
        at=now,
        name=result.name,
        folder=printable(layout.folder.resolve().name),
        format="+".join(layout.formats),
        layout=printable(layout.describe()),
        classes=tuple(printable(line) for line in result.mapping.lines(policy.class_map)),
        class_names_from=printable(result.mapping.origin),
        splits=printable(result.splits),
        files=len(listing.files) + len(listing.no_files),
        lines=lines,
        figures=figures,
        notes=tuple(printable(note) for note in _notes(result)),
        dry_run=dry_run,
    )
    account = replace(account, failures=tuple(_failures(account, result)))
    return replace(account, next=tuple(_next(account)))


def store_account(lake: Lake, account: ImportAccount) -> None:
    """Appends the account to the table `imports`."""
    lake.append("imports", [account.row()], account.import_id)


def _settled(outcome: FileOutcome, state: KeyState | None) -> FileOutcome:
    """What became of a file that was copied, or stood in raw/ already."""
    standing = (ImportState.REPLACED, ImportState.REREAD, ImportState.UNCHANGED)
    if outcome.state is not ImportState.NEW and outcome.state not in standing:
        return outcome
    if outcome.kind not in (FileKind.PHOTOGRAPH, FileKind.LABELS):
        return replace(outcome, state=ImportState.ACCEPTED) if outcome.state is ImportState.NEW else outcome
    if state is None:
        return replace(outcome, state=ImportState.WAITING)
    if state.state in (ImportState.QUARANTINED, ImportState.PARTLY, ImportState.WAITING):
        return replace(outcome, state=state.state, reason=state.reason, detail=state.detail)
    if outcome.state is not ImportState.NEW:
        return outcome
    if state.state is ImportState.DUPLICATE:
        return replace(outcome, state=ImportState.DUPLICATE, reason="the same bytes as another photograph")
    return replace(outcome, state=ImportState.ACCEPTED)


def _notes(result: ImportResult) -> Iterator[str]:
    listing = result.layout.listing
    yield from result.mapping.notes
    yield from (f"followed a link: {link}" for link in listing.links)
    if result.gone:
        shown = ", ".join(result.gone[:_SHOWN]) + (", ..." if len(result.gone) > _SHOWN else "")
        yield (
            f"{len(result.gone)} files that were imported before under this name are not in the folder any more, and "
            f"stay in the lake: {shown}"
        )


def _failures(account: ImportAccount, result: ImportResult) -> Iterator[str]:
    if not account.adds_up:
        counted = sum(line.files for line in account.lines)
        yield f"the account does not add up: {account.files} files, {counted} in its lines. Please report this."
    for folder in result.layout.listing.unreadable:
        yield f"this folder cannot be read, and labels or photographs may lie in it: {printable(folder)}"
    labels = account.count(FileKind.LABELS)
    read = account.count(FileKind.LABELS, *READ)
    if labels and not read:
        yield f"{_counted(labels, 'label file')} there, and none was read"
    refused = [line for line in account.lines if line.state == ImportState.REFUSED]
    for line in refused:
        yield f"{_counted(line.files, line.kind)} refused: {line.reason}, first {line.first[0]}"


def _next(account: ImportAccount) -> Iterator[str]:
    name = account.name
    if account.dry_run:
        if not account.failures:
            yield "nothing was copied: leave --dry-run out to import"
        return
    for kind in (FileKind.PHOTOGRAPH, FileKind.LABELS):
        if quarantined := account.count(kind, ImportState.QUARANTINED, ImportState.PARTLY):
            yield f"{_counted(quarantined, kind)} in quarantine: `carsdepo quarantine list` says why"
    unlabelled = account.figures.get("unlabelled", 0)
    if unlabelled:
        yield (
            f"{_counted(unlabelled, 'photograph')} without labels: put label files beside the photographs, or into "
            "labels/, and import again; the others are what a training learns from"
        )
    if unreviewed := account.figures.get("unreviewed", 0):
        yield (
            f"{_counted(unreviewed, 'photograph')} of which nobody is known to have finished the labels: taken neither "
            "for clean nor for damaged. Finish them in the labelling tool and import again (of Label Studio: "
            "its JSON export, which says which tasks are finished)"
        )
    if account.figures.get("with_damage", 0) + account.figures.get("clean", 0) > 0:
        yield "`carsdepo train` learns from the labels of now"
    elif not unlabelled:
        yield f"no photograph of {name} is in the lake: see the reasons above"


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 or noun == 'metadata' else 's'}"
