"""Imports a user's folder of photographs and labels into the lake's raw/: once, and resumably, with an account.

A file that cannot be taken is refused by itself; where its labels or photograph would then be read wrongly, these are
refused with it. What cannot be decided without a person stops the import before anything is copied.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from carsdepo_assets.data.batches.batches import plan_batches
from carsdepo_assets.data.datasets.declared_splits import (
    SplitLeaks,
    find_declared_splits,
    write_declared_groups,
    write_declared_splits,
)
from carsdepo_assets.data.datasets.split_files import Stated
from carsdepo_assets.data.folders.folder_files import is_hidden
from carsdepo_assets.data.imports.class_mapping import map_classes
from carsdepo_assets.data.imports.earlier_imports import EarlierImports
from carsdepo_assets.data.imports.folder_recognition import FORMATS, read_layout
from carsdepo_assets.data.imports.import_copying import FolderCopy, ImportResult
from carsdepo_assets.data.imports.import_names import annotator_name, import_name
from carsdepo_assets.data.imports.import_refusals import ClassesUnknown, ClassesUnmapped, FormatsConflict, ImportRefused
from carsdepo_assets.data.imports.layouts import FileKind, Layout
from carsdepo_assets.data.imports.licence_claims import find_licences
from carsdepo_assets.data.labels.import_records import (
    QUEUE_NAME,
    read_import_record,
)
from carsdepo_assets.lake.class_names import ClassNamesChanged, check_class_names
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.lake.licences import state_licences
from carsdepo_assets.lake.locks import one_writer
from carsdepo_assets.lake.text_files import storable
from carsdepo_assets.policy import Policy
from carsdepo_assets.registry.ledger import person

__all__ = ["ClassesUnknown", "ClassesUnmapped", "FormatsConflict", "ImportRefused", "ImportResult", "import_folder"]

AUTO = "auto"


def import_folder(
    lake: Lake | None,
    folder: Path,
    format: str,
    mapping: Mapping[str, str],
    policy: Policy,
    now: datetime,
    origin: str | None = None,
    name: str | None = None,
    progress: Callable[[int, int], None] | None = None,
    classes: str | None = None,
    resplit: bool = False,
    dry_run: bool = False,
    annotator: str | None = None,
    licence: str | None = None,
    claimed_by: str | None = None,
) -> ImportResult:
    """Copies a folder's photographs, labels and metadata into raw/, and closes the upload batches.

    A file whose bytes are in raw/ already is left alone. A changed label file or manifest.csv replaces the one imported
    before; a changed photograph does so only where the one before never became an image. Nothing is deleted.

    Args:
        lake: where to import to; None, with `dry_run`: nothing is there yet.
        folder: the user's folder.
        format: of the labels, one of folder_recognition.FORMATS; auto: as their content says.
        mapping: the new name by the folder's name or id of a class: of one of our classes, of the cause of a hard
            negative, or `-`.
        policy: the class map and the section `data` are used.
        now: the present, with a time zone.
        origin: stored with the labels; by default the format.
        name: of the import, and of its folders below raw/uploads and raw/labels; by default the folder's own.
        progress: called with the number of files copied and of all that are to be copied.
        classes: names of the folder's class ids 0, 1 and so on, with commas; None: files of the folder say them.
        resplit: deal the photographs to splits anew, whatever split the folder comes with.
        dry_run: look only: nothing is written.
        annotator: who drew the labels that name nobody themselves. Each annotator's labels of an import lie in a folder
            of their own below raw/labels, so that they never take the place of another's.
        licence: of photographs and labels, as an SPDX identifier or in words; beside what files of the folder state.
        claimed_by: who says so; None: the user of this process.

    Raises:
        ClassesUnknown: nothing says what the class ids mean; nothing was copied.
        ClassesUnmapped: classes are called as none of ours; nothing was copied.
        FormatsConflict: several formats label the same photographs; nothing was copied.
        ImportRefused: the folder cannot be imported as it is; nothing was copied.
    """
    if format not in (AUTO, *FORMATS):
        raise ImportRefused(f"format {format!r} is not known: {', '.join((AUTO, *FORMATS))}.")
    folder = Path(folder)
    if not folder.is_dir():
        raise ImportRefused(f"{folder} is not a folder.")
    _refuse_the_lake_itself(lake, folder)
    name = import_name(name, folder)
    annotator = annotator_name(annotator) if annotator is not None else None
    if name == QUEUE_NAME:
        raise ImportRefused(
            f"raw/labels/{name} is the labelling queue's. Rename {folder}, or give the import another name by --name."
        )
    if lake is not None:
        try:
            check_class_names(lake, policy.class_map)
        except ClassNamesChanged as error:
            raise ImportRefused(str(error)) from error
    layout = read_layout(folder, None if format == AUTO else format)
    earlier, notes = EarlierImports.read(lake, name), list[str]()
    if annotator is not None and not layout.of(FileKind.LABELS):
        notes.append(f"--annotator {annotator}: there are no labels that it could be said of")
        annotator = None
    if annotator is not None:
        annotator = earlier.spelling(annotator)
    copying = FolderCopy(lake, layout, name, annotator)
    labels_folder = copying.labels_folder
    if not layout.of(FileKind.PHOTOGRAPH) and not copying.has_photographs():
        _refuse_without_photographs(layout)
    reminder = earlier.reminder(labels_folder, mapping, classes)
    try:
        class_mapping = map_classes(layout, mapping, classes, policy.class_map)
    except (ClassesUnknown, ClassesUnmapped) as error:
        error.remind(reminder)
        raise
    notes += earlier.changes(labels_folder, class_mapping, reminder, layout.classes, policy.class_map)
    notes += earlier.other_annotators(labels_folder, annotator, bool(layout.of(FileKind.LABELS)))
    form = "+".join(layout.formats) or ("" if format == AUTO else format)
    record: dict[str, Any] = {
        "origin": origin or form or "none",
        "asked": earlier.asked_now(labels_folder, mapping, classes, (*layout.classes, *class_mapping.names.values())),
        "options": {
            "import": labels_folder,
            "format": form,
            "class_ids": {storable(source): target for source, target in class_mapping.targets.items()},
        },
    }
    if layout.from_label_studio and "yolo" in layout.formats:
        record["options"]["empty_is_unreviewed"] = True
    if resplit:
        record["options"]["resplit"] = True
    if annotator is not None:
        record["options"]["annotator"] = annotator
    before = read_import_record(lake, labels_folder) if lake is not None else None
    if before is not None and not layout.of(FileKind.LABELS):
        record = before  # photographs alone say nothing about the labels that stand there
    try:
        declared = find_declared_splits(
            folder,
            copying.files(FileKind.PHOTOGRAPH),
            copying.files(FileKind.SIDECAR),
            resplit,
            [Stated(use.path, *stated) for use in layout.of(FileKind.LABELS) for stated in use.stated],
        )
    except SplitLeaks as error:
        raise ImportRefused(str(error)) from error
    try:
        licences = find_licences(
            layout,
            name,
            copying.files(FileKind.PHOTOGRAPH),
            labels_folder,
            licence,
            claimed_by or person(),
        )
    except ValueError as error:
        raise ImportRefused(str(error)) from error
    notes += licences.notes
    if lake is None or dry_run:
        copying.decide(policy, record)
        return copying.result(class_mapping, declared, 0, notes)
    with one_writer(lake, f"import-{name}"):  # what stands below the name is looked at, then added to
        copying.look()
        copying.decide(policy, record)
        state_licences(lake, name, licences.statements, now)
        write_declared_splits(lake, name, declared, copying.files(FileKind.PHOTOGRAPH).keys())
        if layout.of(FileKind.LABELS):  # photographs alone say nothing about the groups that label files gave
            write_declared_groups(lake, name, declared, copying.files(FileKind.PHOTOGRAPH).keys())
        copied = copying.copy(lake, record, policy, progress)
    plan_batches(lake, "uploads", policy, now, close_all=True, name=name)
    return copying.result(class_mapping, declared, copied, notes)


def _refuse_the_lake_itself(lake: Lake | None, folder: Path) -> None:
    """Refuses a folder that holds the lake, unless below a hidden folder, which no import looks into."""
    if lake is None or lake.root is None:
        return
    root, above = lake.root.resolve(), folder.resolve()
    if root.is_relative_to(above) and not is_hidden(f"{root.relative_to(above)}/any"):
        raise ImportRefused(
            f"{folder} holds the lake of this installation, {root}: it would be imported into itself. Import a folder "
            "that does not hold it, or keep the home elsewhere (CARSDEPO_HOME, or --home)."
        )


def _refuse_without_photographs(layout: Layout) -> None:
    refused = [use for use in layout.of(FileKind.PHOTOGRAPH, copied=False) if use.refused]
    why = f" {refused[0].path!r}: {refused[0].reason}." if refused else ""
    unreadable = f" These folders cannot be read: {', '.join(layout.listing.unreadable)}." * bool(
        layout.listing.unreadable
    )
    raise ImportRefused(
        f"{layout.folder}: no photographs, neither in the folder nor in the folders below it.{why}{unreadable}"
    )
