"""What files of an imported folder say to no effect: labels that are all left out, a manifest.csv that fits nothing."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from carsdepo_assets.data.folders.counts import counted
from carsdepo_assets.data.folders.layout_names import folded
from carsdepo_assets.data.folders.manifest_csv import MANIFEST, Row, Sheet, read_sheet
from carsdepo_assets.data.folders.photograph_names import wanted_names
from carsdepo_assets.data.imports.layouts import FileUse
from carsdepo_assets.data.labels.formats.documents import ClassTargets
from carsdepo_assets.data.labels.formats.parsed import Problem

_REASONS = 5  # that an account names


@dataclass(frozen=True)
class SheetFinding:
    """What a manifest.csv says of the photographs of an import."""

    useless: str
    """Why nothing of it is used, for a person; empty where something is."""
    note: str = ""
    """What of it is not used, for a person."""


def look_at_sheets(sheets: Mapping[str, Path], photographs: Iterable[str]) -> dict[str, SheetFinding]:
    """Which photographs the files manifest.csv of an import mean.

    Args:
        sheets: the files by their paths below the import's folder in raw/uploads.
        photographs: paths below the same folder.

    Returns:
        By path: what was found. A file that cannot be opened has no entry.
    """
    read: dict[PurePosixPath, Sheet] = {}
    for path, real in sheets.items():
        try:
            read[PurePosixPath(path).parent] = read_sheet(real.read_bytes())
        except OSError:
            continue
    used: dict[PurePosixPath, set[int]] = {folder: set() for folder in read}
    torn: dict[PurePosixPath, list[str]] = defaultdict(list)
    below: dict[PurePosixPath, list[PurePosixPath]] = defaultdict(list)
    for photograph in map(PurePosixPath, photographs):
        # The nearest one counts, as for the metadata of an ingested photograph.
        folder = next((folder for folder in photograph.parents if folder in read), None)
        if folder is not None:
            below[folder].append(photograph.relative_to(folder))
    for folder, paths in below.items():
        read[folder].settle(paths)
        for place in paths:
            row, problem = read[folder].row(place)
            if problem is not None:
                torn[folder].append(problem)
            if row is not None:
                used[folder].add(id(row))
    return {str(folder / MANIFEST): _finding(sheet, used[folder], torn[folder]) for folder, sheet in read.items()}


def _finding(sheet: Sheet, used: Collection[int], torn: list[str]) -> SheetFinding:
    if sheet.problems:
        return SheetFinding("; ".join(sheet.problems).replace(f"{MANIFEST}: ", ""))
    rows = sheet.rows()
    if not rows:
        return SheetFinding("it names no file")
    first = torn[0].replace(f"{MANIFEST}: ", "") if torn else ""
    shown = first and f"{counted(len(torn), 'photograph')} without a row that is certain: {first}"
    if not used:
        return SheetFinding(shown or f"no photograph is called as its rows say, the first of them {_file(rows[0])!r}")
    # Of rows that say the same of one photograph only one was needed.
    needed = {tuple(row.items()) for row in rows if id(row) in used}
    left = [row for row in rows if tuple(row.items()) not in needed]
    if torn or not left:
        return SheetFinding("", shown)
    fit = "fits" if len(left) == 1 else "fit"
    return SheetFinding(
        "", f"{len(left)} of its {len(rows)} rows {fit} no photograph of the import, such as {_file(left[0])!r}"
    )


def _file(row: Row) -> str:
    """How a row names its photograph, as far as a person needs it."""
    return next((value for value in row.values() if value), "")[:100]


def left_out_alone(uses: Iterable[FileUse], targets: ClassTargets) -> int:
    """How many photographs have labels, all of them of classes that are left out: they count as clean.

    Args:
        uses: the label files that are taken.
        targets: what each class becomes.
    """
    if None not in targets.values():
        return 0
    alone: dict[str, bool] = {}
    for use in uses:
        for name, classes in use.classes:
            place = use.target or use.path if use.photographs else folded(name)
            is_left_out = all(targets.get(source, "") is None for source in classes)
            alone[place] = alone.get(place, True) and is_left_out
    return sum(alone.values())


def refusal_foreseen(use: FileUse, targets: ClassTargets | None) -> tuple[Problem, bool] | None:
    """What will send a label file to quarantine, as far as the file itself says it, and whether the rest is read.

    Args:
        use: the label file.
        targets: what each class becomes; None: classes cannot be looked up by what this file calls them.
    """
    problem, sound = use.problem, use.sound
    for name, classes in use.classes if targets is not None else ():
        unknown = sorted(source for source in classes if targets is not None and source not in targets)
        if unknown:
            sound -= 1
            where = f"{name}: " if use.names else ""
            problem = problem or Problem("unknown_class", f"{where}class {unknown[0]}")
    return None if problem is None else (problem, sound > 0 and not use.path.lower().endswith(".txt"))


def annotators_named(uses: Iterable[FileUse], option: str | None) -> list[str]:
    """Who made how many photographs' labels, one line each; none where nobody is named.

    Args:
        uses: the label files that are taken.
        option: whom `--annotator` names, for the labels that name nobody; None: nobody.
    """
    labels: Counter[str | None] = sum((use.annotators for use in uses), Counter())
    if option is None and not any(labels):
        return []
    by_files = [f"{name}: {n} by the label files" for name, n in sorted(labels.items(), key=str) if name is not None]
    who = "nobody is named" if option is None else option
    by_option = [f"{who}: {labels[None]}{' by --annotator' if option is not None else ''}"]
    return [*by_option, *by_files] if option is not None or labels[None] else by_files


def doubts_of(uses: Iterable[FileUse]) -> list[str]:
    """Why photographs are not reviewed, for a person: how many for each reason, and the first of them.

    Args:
        uses: the label files that are taken.
    """
    first: dict[str, str] = {}
    counts = Counter[str]()
    for use in uses:
        for doubt, name in use.doubts:
            counts[doubt] += 1
            first.setdefault(doubt, f"{PurePosixPath(name).name or name} in {use.path}")
    most = counts.most_common(_REASONS)
    shown = [f"{counted(n, 'photograph')} unreviewed: {doubt}, first {first[doubt]}" for doubt, n in most]
    more = len(counts) - len(shown)
    return [*shown, f"and {counted(more, 'other reason')} of unreviewed photographs"] if more > 0 else shown


def photographs_of(use: FileUse, by_name: Mapping[str, Collection[str]]) -> set[str]:
    """The photographs that a label file may be of, by their paths in the folder.

    Args:
        use: the label file.
        by_name: paths of photographs by `called`.
    """
    forms = {called(wanted.name) for name in use.names for wanted in wanted_names(name, PurePosixPath())}
    return {*use.photographs, *(path for form in forms for path in by_name.get(form, ()))}


def called(path: str) -> str:
    """The name of a photograph without its suffix, as names are compared."""
    return folded(PurePosixPath(path).stem)
