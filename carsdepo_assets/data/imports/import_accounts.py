"""Makes the account of an import out of what was copied and what ingestion made of it, and stores it."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from carsdepo_assets.data.batches.batches import is_label, is_photograph
from carsdepo_assets.data.folders.counts import counted
from carsdepo_assets.data.folders.manifest_csv import MANIFEST
from carsdepo_assets.data.imports.account import (
    READ,
    FileOutcome,
    ImportAccount,
    ImportState,
    account_lines,
    printable,
)
from carsdepo_assets.data.imports.import_findings import (
    annotators_named,
    called,
    doubts_of,
    left_out_alone,
    photographs_of,
    refusal_foreseen,
)
from carsdepo_assets.data.imports.import_states import KeyState, key_states, label_figures, unlabelled_images
from carsdepo_assets.data.imports.importing import ImportResult
from carsdepo_assets.data.imports.layouts import FileKind, FileUse
from carsdepo_assets.data.labels.labels_left import labels_left
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
    left: dict[str, int] = {}
    waiting, earlier = 0, list[str]()
    if lake is not None and not dry_run:
        states = key_states(lake, [key for key in result.keys.values() if is_photograph(key) or is_label(key)])
        outcomes = [_settled(outcome, states.get(result.keys.get(outcome.path, ""))) for outcome in outcomes]
        paths = {key: path for path, key in result.keys.items()}
        earlier = [f"{paths[key]}: {one.still_counts}" for key, one in states.items() if one.still_counts]
        figures = label_figures(lake, [key for key in result.keys.values() if is_photograph(key)])
        waiting = _with_refused_labels(lake, result, outcomes) if figures["unlabelled"] else 0
        replaced = {result.keys[o.path]: o.path for o in result.outcomes if _is_replaced_label(o)}
        left = {replaced[key]: len(images) for key, images in labels_left(lake, replaced, policy.class_map).items()}
        if left:
            figures["not_named_any_more"] = sum(left.values())
    if dry_run:
        outcomes = _foreseen(lake, result, outcomes)
    if result.gone:
        figures["gone"] = len(result.gone)
    layout, listing = result.layout, result.layout.listing
    unseen = _not_looked_at(outcomes) if dry_run else []
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
        notes=tuple(
            printable(note) for note in [*_notes(result, outcomes, figures, sorted(earlier)), *_left(left), *unseen]
        ),
        dry_run=dry_run,
        annotators=tuple(printable(one) for one in _annotators(result, outcomes)),
    )
    account = replace(account, failures=tuple(_failures(account, result)))
    return replace(account, next=tuple(_next(account, waiting)))


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


def _foreseen(lake: Lake | None, result: ImportResult, outcomes: Iterable[FileOutcome]) -> list[FileOutcome]:
    """What a dry run knows of the files: what became of those that stand there, and what label files say themselves."""
    outcomes = list(outcomes)
    there = [result.keys[o.path] for o in outcomes if o.state is ImportState.UNCHANGED]
    keys = [key for key in there if is_photograph(key) or is_label(key)]
    states = key_states(lake, keys) if lake is not None and keys else {}
    uses = {use.path: use for use in result.layout.of(FileKind.LABELS)}
    # Files of several formats may write one class each in their own way.
    targets = result.mapping.targets if len(result.layout.formats) == 1 else None
    told = []
    for outcome in outcomes:
        if outcome.state is ImportState.UNCHANGED:
            outcome = _settled(outcome, states.get(result.keys[outcome.path]))
        elif outcome.path in uses and (refusal := refusal_foreseen(uses[outcome.path], targets)) is not None:
            problem, in_part = refusal
            state = ImportState.PARTLY if in_part else ImportState.QUARANTINED
            line = f"line {problem.line}: " if problem.line is not None else ""
            outcome = replace(outcome, state=state, reason=problem.reason, detail=f"{line}{problem.detail}")
        told.append(outcome)
    return told


def _not_looked_at(outcomes: Iterable[FileOutcome]) -> list[str]:
    """What only the import itself finds out about the files that it would copy."""
    copied = (ImportState.NEW, ImportState.REPLACED, ImportState.REREAD, ImportState.PARTLY)
    numbers = Counter(str(outcome.kind) for outcome in outcomes if outcome.state in copied)
    told = []
    if photographs := numbers[FileKind.PHOTOGRAPH]:
        told.append(
            f"not looked at: whether {counted(photographs, 'photograph')} can be decoded, and whether the same bytes "
            "are there under another name"
        )
    if labels := numbers[FileKind.LABELS]:
        told.append(
            f"{counted(labels, 'label file')} read, but not compared with photographs or with each other: the import "
            "says which boxes lie outside, which sizes differ, which photographs are missing and what contradicts"
        )
    return told


def _with_refused_labels(lake: Lake, result: ImportResult, outcomes: Iterable[FileOutcome]) -> int:
    """How many photographs have no label although a label file of theirs is there: it was refused, or in part."""
    read = {ImportState.DUPLICATE, *READ} - {ImportState.PARTLY}
    failed = {o.path for o in outcomes if o.kind == FileKind.LABELS and o.state not in (*read, ImportState.NOT_USED)}
    if not failed:
        return 0
    photographs = [use.path for use in result.layout.of(FileKind.PHOTOGRAPH)]
    by_name: dict[str, list[str]] = defaultdict(list)
    for path in photographs:
        by_name[called(path)].append(path)
    of_failed = {p for use in result.layout.uses if use.path in failed for p in photographs_of(use, by_name)}
    unlabelled = unlabelled_images(lake, [result.keys[path] for path in photographs])
    return len({unlabelled[key] for path in of_failed if (key := result.keys.get(path, "")) in unlabelled})


def _notes(
    result: ImportResult, outcomes: Iterable[FileOutcome], figures: Mapping[str, int], earlier: Sequence[str]
) -> Iterator[str]:
    listing = result.layout.listing
    yield from result.mapping.notes
    taken = _read_labels(result, outcomes)
    if alone := left_out_alone(taken, result.mapping.targets):
        has, counts = ("has", "it counts") if alone == 1 else ("have", "they count")
        yield f"{counted(alone, 'photograph')} {has} only labels that are left out: {counts} as clean"
    yield from doubts_of(taken)
    yield from result.notes
    yield from (f"in quarantine: {one}" for one in earlier[:_SHOWN])
    if more := max(0, len(earlier) - _SHOWN):
        yield f"in quarantine: of {counted(more, 'more file')}, too, what they would have replaced still counts"
    labelled = figures.get("with_damage", 0) + figures.get("clean", 0)
    if labelled > 1 and not figures["groups"]:
        yield (
            "no photograph has a group: photographs of one car may come into training and test, and figures flatter. "
            f"Say in {MANIFEST}, by its columns file and group, which show one car, and import again"
        )
    yield from (f"followed a link: {link}" for link in listing.links)
    if result.gone:
        shown = ", ".join(result.gone[:_SHOWN]) + (", ..." if len(result.gone) > _SHOWN else "")
        yield (
            f"{counted(len(result.gone), 'file')} that an earlier import of this name had, not in the folder any more: "
            f"what came from there stays in the lake: {shown}"
        )


def _read_labels(result: ImportResult, outcomes: Iterable[FileOutcome]) -> list[FileUse]:
    """The label files that are in the lake, or would be, with what they say."""
    read = {outcome.path for outcome in outcomes if outcome.state in READ}
    return [use for use in result.layout.of(FileKind.LABELS) if use.path in read]


def _annotators(result: ImportResult, outcomes: Iterable[FileOutcome]) -> list[str]:
    return annotators_named(_read_labels(result, outcomes), result.annotator)


def _is_replaced_label(outcome: FileOutcome) -> bool:
    return outcome.kind == FileKind.LABELS and outcome.state is ImportState.REPLACED


def _left(left: Mapping[str, int]) -> Iterator[str]:
    """Notes on label files by their paths, with the number of photographs that each does not name any more."""
    for path, number in list(left.items())[:_SHOWN]:
        yield (
            f"{path} does not name {counted(number, 'photograph')} any more whose labels its earlier version gave: "
            "they still count. To take boxes away, name the photograph in the file without them, and import again"
        )
    if len(left) > _SHOWN:
        yield f"{counted(len(left) - _SHOWN, 'more label file')} left out photographs in the same way"


def _failures(account: ImportAccount, result: ImportResult) -> Iterator[str]:
    if not account.adds_up:
        in_lines = sum(line.files for line in account.lines)
        yield f"the account does not add up: {account.files} files, {in_lines} in its lines. Please report this."
    for folder in result.layout.listing.unreadable:
        yield f"this folder cannot be read, and labels or photographs may lie in it: {printable(folder)}"
    labels = account.count(FileKind.LABELS)
    read = account.count(FileKind.LABELS, *READ)
    if labels and not read:
        yield f"{counted(labels, 'label file')} there, and none was read"
    refused = [line for line in account.lines if line.state == ImportState.REFUSED]
    for line in refused:
        yield f"{counted(line.files, line.kind)} refused: {line.reason}, first {line.first[0]}"


def _next(account: ImportAccount, waiting: int) -> Iterator[str]:
    name = account.name
    if account.dry_run:
        if not account.failures:
            yield "nothing was copied: leave --dry-run out to import"
        return
    for kind in (FileKind.PHOTOGRAPH, FileKind.LABELS):
        if quarantined := account.count(kind, ImportState.QUARANTINED, ImportState.PARTLY):
            yield f"{counted(quarantined, kind)} in quarantine: `carsdepo quarantine list` says why"
    if waiting:
        yield (
            f"{counted(waiting, 'photograph')} without labels although there is a label file: it was refused or is in "
            "quarantine. Correct it and import again"
        )
    unlabelled = account.figures.get("unlabelled", 0)
    if without := unlabelled - waiting:
        yield (
            f"{counted(without, 'photograph')} without labels: put label files beside the photographs, or into "
            "labels/, and import again; the others are what a training learns from"
        )
    if unreviewed := account.figures.get("unreviewed", 0):
        yield (
            f"{counted(unreviewed, 'photograph')} of which nobody is known to have finished the labels: taken neither "
            "for clean nor for damaged. Finish them in the labelling tool and import again (of Label Studio: "
            "its JSON export, which says which tasks are finished)"
        )
    if account.figures.get("with_damage", 0) + account.figures.get("clean", 0) > 0:
        yield "`carsdepo train` learns from the labels of now"
    elif not unlabelled:
        yield f"no photograph of {name} is in the lake: see the reasons above"
